"""Files of rows as other systems keep them: a JSON list, JSON Lines, lines of text, or a folder of these."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmops_assets.config_import.values import Unusable


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a .json list, a .jsonl file, a .txt file (a row a line), or a folder of these.

    Raises Unusable for other files, and naming file and line or row where one cannot be read.
    """
    if path.is_dir():
        return [row for file in sorted(path.iterdir()) if file.is_file() for row in read_rows(file)]
    if not path.is_file():
        raise Unusable(f"{path} is not there; put the file there or mend file_name")
    if path.suffix not in (".json", ".jsonl", ".txt"):
        raise Unusable(f"{path} is none of .json, .jsonl and .txt; save it as JSON")
    content = _text(path)
    if path.suffix == ".txt":
        return [{"text": line} for line in content.split("\n") if line.strip()]
    rows = _parsed(content, path)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise Unusable(f"{path}: row {number} is no object, but {str(row)[:60]!r}; a row is an object of columns")
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


def _text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unusable(f"{path}:{line}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def _parsed(content: str, path: Path) -> list[Any]:
    if path.suffix == ".json" and content.lstrip()[:1] == "[":
        return _json(content, path, first_line=1)
    # str.splitlines would also cut at U+2028, which JSON strings may hold as it is.
    lines = enumerate(content.split("\n"), start=1)
    return [_json(line, path, first_line=number) for number, line in lines if line.strip()]


def _json(content: str, path: Path, first_line: int) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise Unusable(
            f"{path}:{line}: is no JSON: {error.msg} (column {error.colno}); the file must be one list of objects, or "
            "an object a line"
        ) from error
