"""The fields of eval records, each read or refused with its name: texts stay as they are, letter by letter."""

from collections.abc import Iterator, Mapping
from typing import Any

from llmops_assets.data.formats.conversations import parse_conversation
from llmops_assets.data.formats.texts import optional_name
from llmops_assets.data.jsonl import parse_json
from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.records import Message, Reason, RecordError

Record = Mapping[str, Any]
_LARGEST_TOLERANCE = 1e9


def asked(value: Record, key: str, *, above: str = "") -> tuple[Message, ...]:
    parts = [normalize_text(part).strip() for part in (above, text_of(value, key))]
    if not parts[-1]:
        raise RecordError(Reason.EMPTY, f"`{key}` is empty")
    return (Message("user", "\n\n".join(part for part in parts if part)),)


def dialogue_of(prompt: object) -> tuple[Message, ...]:
    """Return the turns of a prompt as they are; parsed as those of a conversation, with an answer added for that."""
    if not isinstance(prompt, list) or not prompt:
        raise RecordError(Reason.WRONG_TYPE, "`prompt` is neither a text nor a list of turns")
    turns = [*prompt, {"role": "assistant", "content": "-"}]
    return parse_conversation({"messages": turns}, "messages")[1][:-1]


def identity_of(value: Record) -> str | None:
    for key in ("id", "task_id"):
        name = value.get(key)
        if isinstance(name, int) and not isinstance(name, bool):
            return str(name)
        if name is not None:
            return optional_name(value, key)
    return None


def text_of(value: Record, key: str) -> str:
    """Return a text letter by letter: code is measured as it is."""
    text = value[key]
    if not isinstance(text, str):
        raise RecordError(Reason.WRONG_TYPE, f"`{key}` is a {type(text).__name__}, not a string")
    if not text.strip():
        raise RecordError(Reason.EMPTY, f"`{key}` is empty")
    return text


def optional_text_of(value: Record, key: str) -> str:
    text = value.get(key)
    return "" if text is None or text == "" else text_of(value, key)


def texts_of(value: Record, key: str) -> tuple[str, ...]:
    """Return a list of texts; none if the key is not there."""
    found = value.get(key)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise RecordError(Reason.WRONG_TYPE, f"`{key}` is no list of texts")
    if not all(text.strip() for text in found):
        raise RecordError(Reason.EMPTY, f"a text of `{key}` is empty")
    return tuple(found)


def inputs_of(value: Record, key: str) -> Iterator[Any]:
    found = value.get(key) or []
    if not isinstance(found, list) or not all(isinstance(arguments, list) for arguments in found):
        raise RecordError(Reason.WRONG_TYPE, f"`{key}` is no list of lists of arguments")
    return iter(found)


def tolerance_of(value: Record, key: str) -> float:
    found = value.get(key) or 0.0
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < _LARGEST_TOLERANCE:
        raise RecordError(Reason.WRONG_TYPE, f"`{key}` is {found!r}, no number from 0 to {_LARGEST_TOLERANCE:g}")
    return float(found)


def schema_of(value: Record) -> Mapping[str, Any] | None:
    schema = value.get("schema")
    if isinstance(schema, str):  # some write it as a text
        schema = parse_json(schema)
    if schema is not None and not isinstance(schema, Mapping):
        raise RecordError(Reason.WRONG_TYPE, f"`schema` is a {type(schema).__name__}, not an object")
    return schema
