"""Rows of LLaMA-Factory's alpaca and sharegpt layouts as the `messages` and `text` records that a lane reads.

What a row says is kept as it is, wrong turn orders included: the data stages quarantine them with their reason.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmops_assets.config_import.dataset_columns import Columns
from llmops_assets.config_import.values import Unusable

_LANE_ROLES = ("system", "user", "assistant")


def as_text(row: Mapping[str, Any], columns: Columns, file: Path, number: int) -> dict[str, Any]:
    """Return the row as a document: prompt and query, joined by a line break, as LLaMA-Factory trains on them.

    Raises Unusable if there is no such column, or it holds something else than text.
    """
    if file.suffix == ".txt":
        return {"text": row["text"]}
    prompt = _cell(row, columns.prompt, "prompt", file, number)
    query = row.get(columns.query) if columns.query else None
    return {"text": _joined(prompt, query, file, number) if query else prompt}


def as_conversation(row: Mapping[str, Any], columns: Columns, file: Path, number: int) -> dict[str, Any]:
    """Return the row as `messages`: system, earlier turns, then question and answer.

    In the alpaca layout the question is instruction and input, joined by a line break. Raises Unusable if a column is
    missing or has another shape, and for tool calls.
    """
    system = row.get(columns.system) if columns.system else None
    turns: list[dict[str, Any]] = []
    if columns.formatting == "alpaca":
        for exchange in (row.get(columns.history) or []) if columns.history else []:
            if not isinstance(exchange, list) or len(exchange) != 2:
                raise Unusable(f"{file}: row {number}: {columns.history} holds {exchange!r}, no [question, answer]")
            question, answer = exchange
            turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        prompt = _cell(row, columns.prompt, "prompt", file, number)
        query = row.get(columns.query) if columns.query else None
        turns.append({"role": "user", "content": _joined(prompt, query, file, number)})
        turns.append({"role": "assistant", "content": _cell(row, columns.response, "response", file, number)})
    else:
        given = _cell(row, columns.messages, "messages", file, number)
        if not isinstance(given, list):
            raise Unusable(f"{file}: row {number}: {columns.messages} is no list of turns, but {str(given)[:60]!r}")
        turns = [_turn(turn, columns, file, number) for turn in given]
    begins_with_system = bool(turns) and turns[0]["role"] == "system"
    opening = [{"role": "system", "content": system}] if system and not begins_with_system else []
    return {"messages": opening + turns}


def as_thumb(row: Mapping[str, Any], columns: Columns, file: Path, number: int) -> dict[str, Any]:
    """Return the row as `messages` with its `label`; raises Unusable if a column is missing."""
    label = _cell(row, columns.thumb, "kto_tag", file, number)
    return {**as_conversation(row, columns, file, number), "label": label}


def _turn(turn: Any, columns: Columns, file: Path, number: int) -> dict[str, Any]:
    if not isinstance(turn, Mapping):
        return {"role": "", "content": turn}
    role = turn.get(columns.role, "")
    if not isinstance(role, str):
        return {"role": str(role), "content": turn.get(columns.content)}
    if role in columns.tool_roles or (columns.formatting == "openai" and turn.get("tool_calls")):
        raise Unusable(
            f"{file}: row {number} has a tool call (a turn of {role!r}), and lanes are text without tools; leave such "
            "rows out of the file"
        )
    if role not in columns.roles and role in _LANE_ROLES:
        raise Unusable(
            f"{file}: row {number} has a turn of {role!r}, which no tag of the entry names, so LLaMA-Factory leaves "
            f"the row out; add {role}_tag: {role} to `tags` to train on it, or leave such rows out of the file"
        )
    return {"role": columns.roles.get(role, role), "content": turn.get(columns.content)}


def _joined(prompt: Any, query: Any, file: Path, number: int) -> str:
    parts = [part for part in (prompt, query) if part]
    if not all(isinstance(part, str) for part in parts):
        raise Unusable(f"{file}: row {number}: prompt and query must be texts, and are {prompt!r} and {query!r}")
    return "\n".join(parts)


def _cell(row: Mapping[str, Any], column: str | None, purpose: str, file: Path, number: int) -> Any:
    if column is None or column not in row:
        raise Unusable(
            f"{file}: row {number} has no column {column or purpose!r} (columns are {sorted(row)}); "
            f"name it as `columns: {{{purpose}: ...}}` in dataset_info.json"
        )
    return row[column]
