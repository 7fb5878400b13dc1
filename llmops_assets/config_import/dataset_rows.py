"""Rows of LLaMA-Factory's alpaca and sharegpt layouts as the `messages` and `text` records that a lane reads.

What a row says is kept as it is, wrong turn orders included: the data stages quarantine them with their reason.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_assets.config_import.values import Unusable

_ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
_SHAREGPT = {"messages": "conversations"}
_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "system_tag": "system",
}
_MEDIA = ("images", "videos", "audios")


@dataclass(frozen=True)
class Columns:
    """Which columns of a data set hold what; None where a layout lacks the column."""

    sharegpt: bool
    prompt: str | None
    query: str | None
    response: str | None
    history: str | None
    messages: str | None
    system: str | None
    thumb: str | None
    role: str
    content: str
    roles: Mapping[str, str]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Columns":
        """Read an entry of dataset_info.json; with `columns`, those that it does not name do not exist.

        Raises Unusable for preference data, tools, images, video and sound.
        """
        formatting = entry.get("formatting", "alpaca")
        if formatting not in ("alpaca", "sharegpt", "openai"):
            raise Unusable(f"formatting {formatting!r} cannot be read; alpaca, sharegpt and openai can")
        columns = entry.get("columns") or {**_ALPACA, **_SHAREGPT}
        tags = {**_TAGS, **(entry.get("tags") or {})}
        if entry.get("ranking"):
            raise Unusable("holds preference pairs (ranking: true); name a set of conversations")
        unreadable = [key for key in (*_MEDIA, "tools") if columns.get(key)]
        if unreadable:
            raise Unusable(f"has columns for {', '.join(unreadable)}; lanes are text without tools")
        return cls(
            sharegpt=formatting != "alpaca",
            prompt=columns.get("prompt"),
            query=columns.get("query"),
            response=columns.get("response"),
            history=columns.get("history"),
            messages=columns.get("messages"),
            system=columns.get("system"),
            thumb=columns.get("kto_tag"),
            role=tags["role_tag"],
            content=tags["content_tag"],
            roles={tags["user_tag"]: "user", tags["assistant_tag"]: "assistant", tags["system_tag"]: "system"},
        )

    @property
    def are_lane_messages(self) -> bool:
        """Whether the column `messages` is the list of role and content that a lane reads as it is."""
        tags_fit = self.role == "role" and self.content == "content"
        roles_fit = all(self.roles.get(role) == role for role in ("system", "user", "assistant"))
        return self.sharegpt and self.messages is not None and tags_fit and roles_fit


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a .json list, a .jsonl file, a .txt file (a row a line), or a folder of these.

    Raises Unusable for other files, and naming file and row where one cannot be read.
    """
    if path.is_dir():
        return [row for file in sorted(path.iterdir()) if file.is_file() for row in read_rows(file)]
    if not path.is_file():
        raise Unusable(f"{path} is not there; put the file there or mend file_name")
    if path.suffix not in (".json", ".jsonl", ".txt"):
        raise Unusable(f"{path} is none of .json, .jsonl and .txt; save it as JSON")
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".txt":
        return [{"text": line} for line in text.splitlines() if line.strip()]
    try:
        one = path.suffix == ".json" and text.lstrip()[:1] == "["
        rows = json.loads(text) if one else [json.loads(line) for line in text.splitlines() if line.strip()]
    except json.JSONDecodeError as error:
        raise Unusable(f"{path} is no JSON: {error}") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise Unusable(f"{path}: row {number} is no object")
    return rows


def read_pairs(path: Path, question: str, answer: str) -> list[dict[str, Any]]:
    """Return the rows of `path` as conversations of one exchange; raises Unusable naming a row without the columns."""
    pairs = []
    for number, row in enumerate(read_rows(path), start=1):
        if not {question, answer} <= row.keys():
            raise Unusable(f"{path}: row {number} has {sorted(row)}, and not {question} and {answer}")
        turns = (("user", row[question]), ("assistant", row[answer]))
        pairs.append({"messages": [{"role": role, "content": content} for role, content in turns]})
    return pairs


def is_lane_conversation(row: Mapping[str, Any]) -> bool:
    """Whether a lane reads the row as it is."""
    turns = row.get("messages")
    return isinstance(turns, list) and all(
        isinstance(turn, dict) and turn.get("role") in ("system", "user", "assistant") for turn in turns
    )


def as_text(row: Mapping[str, Any], columns: Columns, file: Path, number: int) -> dict[str, Any]:
    """Return the row as a document; raises Unusable if its text column is missing."""
    column = "text" if file.suffix == ".txt" else columns.prompt
    if column is None or column not in row:
        raise Unusable(f"{file}: row {number} has no column {column!r}; name it as `columns: {{prompt: ...}}`")
    return {"text": row[column]}


def as_conversation(row: Mapping[str, Any], columns: Columns, file: Path, number: int) -> dict[str, Any]:
    """Return the row as `messages`: system, earlier turns, then question and answer.

    In the alpaca layout the question is instruction and input, joined by a line break. Raises Unusable if a column is
    missing.
    """
    system = row.get(columns.system) if columns.system else None
    turns: list[dict[str, Any]] = []
    if columns.sharegpt:
        turns = [_turn(turn, columns) for turn in _cell(row, columns.messages, "messages", file, number) or []]
    else:
        for question, answer in (row.get(columns.history) or []) if columns.history else []:
            turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        parts = [_cell(row, columns.prompt, "prompt", file, number), row.get(columns.query) if columns.query else None]
        turns.append({"role": "user", "content": "\n".join(part for part in parts if part)})
        turns.append({"role": "assistant", "content": _cell(row, columns.response, "response", file, number)})
    begins_with_system = bool(turns) and turns[0]["role"] == "system"
    opening = [{"role": "system", "content": system}] if system and not begins_with_system else []
    return {"messages": opening + turns}


def as_thumb(row: Mapping[str, Any], columns: Columns, file: Path, number: int) -> dict[str, Any]:
    """Return the row as `messages` with its `label`; raises Unusable if a column is missing."""
    label = _cell(row, columns.thumb, "kto_tag", file, number)
    return {**as_conversation(row, columns, file, number), "label": label}


def _turn(turn: Any, columns: Columns) -> dict[str, Any]:
    if not isinstance(turn, Mapping):
        return {"role": "", "content": turn}
    role = turn.get(columns.role, "")
    return {"role": columns.roles.get(role, role), "content": turn.get(columns.content)}


def _cell(row: Mapping[str, Any], column: str | None, purpose: str, file: Path, number: int) -> Any:
    if column is None or column not in row:
        raise Unusable(
            f"{file}: row {number} has no column {column or purpose!r} (columns are {sorted(row)}); "
            f"name it as `columns: {{{purpose}: ...}}` in dataset_info.json"
        )
    return row[column]
