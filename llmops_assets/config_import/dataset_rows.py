"""Rows of LLaMA-Factory's alpaca and sharegpt layouts, with the columns of its registry, as records that a lane reads.

What a row says is kept as it is, wrong turn orders included: the data stages quarantine them with their reason.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmops_assets.config_import.dataset_columns import ROLE_TAGS, Columns
from llmops_assets.config_import.values import Unusable
from llmops_assets.data.formats.turns import SPEAKERS


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
    missing or has another shape.
    """
    turns = _question(row, columns, file, number)
    if columns.formatting == "alpaca":
        turns.append({"role": "assistant", "content": _cell(row, columns.response, "response", file, number)})
    return _with_tools({"messages": turns}, row, columns)


def as_thumb(row: Mapping[str, Any], columns: Columns, file: Path, number: int) -> dict[str, Any]:
    """Return the row as `messages` with its `label`; raises Unusable if a column is missing."""
    label = _cell(row, columns.thumb, "kto_tag", file, number)
    return {**as_conversation(row, columns, file, number), "label": label}


def as_pair(row: Mapping[str, Any], columns: Columns, file: Path, number: int) -> dict[str, Any]:
    """Return the row as `conversations`, `chosen` and `rejected`; raises Unusable as `as_conversation` does."""
    answers = {
        "chosen": _cell(row, columns.chosen, "chosen", file, number),
        "rejected": _cell(row, columns.rejected, "rejected", file, number),
    }
    if columns.formatting != "alpaca":
        answers = {side: _turn(answer, columns, file, number) for side, answer in answers.items()}
    turns = _question(row, columns, file, number)
    return _with_tools({"conversations": turns, **answers}, row, columns)


def _with_tools(record: dict[str, Any], row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    tools = row.get(columns.tools) if columns.tools else None
    return {**record, "tools": tools} if tools else record


def _question(row: Mapping[str, Any], columns: Columns, file: Path, number: int) -> list[dict[str, Any]]:
    """Return the turns of a row; in the alpaca layout, those before its answer."""
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
    else:
        given = _cell(row, columns.messages, "messages", file, number)
        if not isinstance(given, list):
            raise Unusable(f"{file}: row {number}: {columns.messages} is no list of turns, but {str(given)[:60]!r}")
        turns = [_turn(turn, columns, file, number) for turn in given]
    begins_with_system = bool(turns) and turns[0]["role"] == "system"
    opening = [{"role": "system", "content": system}] if system and not begins_with_system else []
    return opening + turns


def _turn(turn: Any, columns: Columns, file: Path, number: int) -> dict[str, Any]:
    if not isinstance(turn, Mapping):
        return {"role": "", "content": turn}
    role = turn.get(columns.role, "")
    if not isinstance(role, str):
        return {"role": str(role), "content": turn.get(columns.content)}
    if role not in columns.roles and role in SPEAKERS:
        advice = f"add {ROLE_TAGS[role]}: {role} to `tags` to train on it, or " if role in ROLE_TAGS else ""
        raise Unusable(
            f"{file}: row {number} has a turn of {role!r}, which no tag of the entry names, so LLaMA-Factory leaves "
            f"the row out; {advice}leave such rows out of the file"
        )
    calls = {"tool_calls": turn["tool_calls"]} if columns.formatting == "openai" and turn.get("tool_calls") else {}
    return {"role": columns.roles.get(role, role), "content": turn.get(columns.content), **calls}


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
