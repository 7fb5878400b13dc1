"""Texts of a corpus, and the optional names that records of all formats may carry."""

from collections.abc import Mapping
from typing import Any

from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.records import Reason, RecordError

# Keys under which the class of a record usually is.
USUAL_CLASSES = ("category", "class")


def parse_text(value: Mapping[str, Any], *, key: str = "text") -> str:
    """Return the normalized text of a corpus record; raises RecordError if it is missing, no string, or empty."""
    if key not in value:
        raise RecordError(Reason.MISSING_FIELD, f"no `{key}`; keys are {sorted(value)}")
    text = value[key]
    if not isinstance(text, str):
        raise RecordError(Reason.WRONG_TYPE, f"`{key}` is a {type(text).__name__}, not a string")
    text = normalize_text(text).strip("\n")
    if not text.strip():
        raise RecordError(Reason.EMPTY, f"`{key}` is empty")
    return text


def optional_name(value: Mapping[str, Any], key: str) -> str | None:
    """Return the string under an optional `key` such as `id` or `group`; RecordError if it is none or empty."""
    name = value.get(key)
    if name is None:
        return None
    if not isinstance(name, str) or not name.strip():
        raise RecordError(Reason.WRONG_TYPE, f"`{key}` must be a string with text, and is {name!r}")
    return name


def class_of(value: Mapping[str, Any], key: str | None) -> str | None:
    """Return the class under `key`, a text or an integer; without `key`, a text under `category` or `class` if any.

    Raises RecordError if a class is named by `key` and is missing or of another type.
    """
    if key is None:
        found = (value.get(usual) for usual in USUAL_CLASSES)
        return next((name for name in found if isinstance(name, str) and name.strip()), None)
    name = value.get(key)
    if name is None:
        raise RecordError(Reason.MISSING_FIELD, f"no `{key}`, which class_key names; keys are {sorted(value)}")
    if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
        raise RecordError(Reason.WRONG_TYPE, f"`{key}` is {name!r}; a class is a text or an integer")
    return str(name)
