"""Rows of LLaMA-Factory's alpaca and sharegpt layouts, with the columns of its registry, as records that a lane reads.

What a row says is kept as it is, wrong turn orders included: the data stages quarantine them with their reason.
"""

from collections.abc import Callable, Mapping
from typing import Any

from llmops_assets.data.formats.turns import SPEAKERS, with_system
from llmops_assets.data.records import Reason, RecordError
from llmops_assets.data.sources.registry.columns import ROLE_TAGS, Columns


def as_text(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """Return the row as a document: prompt and query, joined by a line break, as LLaMA-Factory trains on them.

    Raises RecordError if there is no such column, or it holds something else than text.
    """
    prompt = _cell(row, columns.prompt, "prompt")
    query = row.get(columns.query) if columns.query else None
    return {"text": _joined(prompt, query) if query else prompt}


def as_conversation(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """Return the row as `messages`: system, earlier turns, then question and answer.

    In the alpaca layout the question is instruction and input, joined by a line break. Raises RecordError if a column
    is missing or has another shape.
    """
    turns = _question(row, columns)
    if columns.formatting == "alpaca":
        turns.append({"role": "assistant", "content": _cell(row, columns.response, "response")})
    return _with_tools({"messages": turns}, row, columns)


def as_thumb(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """Return the row as `messages` with its `label`; raises RecordError if a column is missing."""
    label = _cell(row, columns.thumb, "kto_tag")
    return {**as_conversation(row, columns), "label": label}


def as_pair(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """Return the row as `conversations`, `chosen` and `rejected`; raises RecordError as `as_conversation` does."""
    answers = {
        "chosen": _cell(row, columns.chosen, "chosen"),
        "rejected": _cell(row, columns.rejected, "rejected"),
    }
    if columns.formatting != "alpaca":
        answers = {side: _turn(answer, columns) for side, answer in answers.items()}
    turns = _question(row, columns)
    return _with_tools({"conversations": turns, **answers}, row, columns)


# How a section of a recipe reads a row.
AS_RECORD: dict[str, Callable[[Mapping[str, Any], Columns], dict[str, Any]]] = {
    "corpus": as_text,
    "sft_set": as_conversation,
    "thumbs_set": as_thumb,
    "preferences": as_pair,
}


def _with_tools(record: dict[str, Any], row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    tools = row.get(columns.tools) if columns.tools else None
    return {**record, "tools": tools} if tools else record


def _question(row: Mapping[str, Any], columns: Columns) -> list[dict[str, Any]]:
    """Return the turns of a row; in the alpaca layout, those before its answer."""
    system = row.get(columns.system) if columns.system else None
    turns: list[dict[str, Any]] = []
    if columns.formatting == "alpaca":
        for exchange in (row.get(columns.history) or []) if columns.history else []:
            if not isinstance(exchange, list) or len(exchange) != 2:
                detail = f"{columns.history} holds {str(exchange)[:60]!r}, no [question, answer]"
                raise RecordError(Reason.WRONG_TYPE, detail)
            question, answer = exchange
            turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        prompt = _cell(row, columns.prompt, "prompt")
        query = row.get(columns.query) if columns.query else None
        turns.append({"role": "user", "content": _joined(prompt, query)})
    else:
        given = _cell(row, columns.messages, "messages")
        if not isinstance(given, list):
            detail = f"{columns.messages} is no list of turns, but {str(given)[:60]!r}"
            raise RecordError(Reason.WRONG_TYPE, detail)
        turns = [_turn(turn, columns) for turn in given]
    return with_system({"system": system}, turns)


def _turn(turn: Any, columns: Columns) -> dict[str, Any]:
    if not isinstance(turn, Mapping):
        return {"role": "", "content": turn}
    role = turn.get(columns.role, "")
    if not isinstance(role, str):
        return {"role": str(role), "content": turn.get(columns.content)}
    if role not in columns.roles and role in SPEAKERS:
        advice = f"add {ROLE_TAGS[role]}: {role} to `tags` to train on it, or " if role in ROLE_TAGS else ""
        raise RecordError(
            Reason.INVALID_ROLE,
            f"it has a turn of {role!r}, which no tag of the entry names, so LLaMA-Factory leaves "
            f"the row out; {advice}leave such rows out of the file",
        )
    calls = {"tool_calls": turn["tool_calls"]} if columns.formatting == "openai" and turn.get("tool_calls") else {}
    return {"role": columns.roles.get(role, role), "content": turn.get(columns.content), **calls}


def _joined(prompt: Any, query: Any) -> str:
    parts = [part for part in (prompt, query) if part]
    if not all(isinstance(part, str) for part in parts):
        detail = f"prompt and query must be texts, and are {str(prompt)[:60]!r} and {str(query)[:60]!r}"
        raise RecordError(Reason.WRONG_TYPE, detail)
    return "\n".join(parts)


def _cell(row: Mapping[str, Any], column: str | None, purpose: str) -> Any:
    if column is None:
        raise RecordError(
            Reason.MISSING_FIELD,
            f"the entry has no `columns.{purpose}`; name one of {sorted(row)} there in dataset_info.json",
        )
    if column not in row:
        raise RecordError(
            Reason.MISSING_FIELD,
            f"there is no column {column!r} (columns are {sorted(row)}); "
            f"name it as `columns: {{{purpose}: ...}}` in dataset_info.json",
        )
    return row[column]
