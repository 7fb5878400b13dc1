"""Converters from what a config file holds to what a recipe wants; each raises `Unusable` with the reason."""

from collections.abc import Callable, Mapping
from typing import Any


class Unusable(ValueError):
    """A value that a rule cannot translate; the message says what it must be."""


def text(value: Any) -> str:
    """A string with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise Unusable(f"must be a text, and is {value!r}")
    return value.strip()


def flag(value: Any) -> bool:
    """true or false, as YAML writes them."""
    if not isinstance(value, bool):
        raise Unusable(f"must be true or false, and is {value!r}")
    return value


def number(value: Any) -> float:
    """A number; `1e-4` counts, which YAML 1.1 takes for a text."""
    if isinstance(value, bool):
        raise Unusable(f"must be a number, and is {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise Unusable(f"must be a number, and is {value!r}") from error


def integer(value: Any) -> int:
    """A whole number."""
    result = number(value)
    if result != int(result):
        raise Unusable(f"must be a whole number, and is {value!r}")
    return int(result)


def share(value: Any) -> float:
    """A share of rows below one half."""
    result = number(value)
    if not 0 <= result < 0.5:
        raise Unusable(f"must be a share of the rows from 0 to below 0.5, and is {value!r}; turn a count into a share")
    return result


def names(value: Any) -> list[str]:
    """A list of names, or one text with commas."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) and part.strip() for part in parts) or not parts:
        raise Unusable(f"must be a list of names, and is {value!r}")
    return [part.strip() for part in parts]


def one_of(values: Mapping[Any, Any], otherwise: str) -> Callable[[Any], Any]:
    """Return a converter that looks the value up and, where it is not there, raises with the advice `otherwise`."""

    def convert(value: Any) -> Any:
        key = value.lower() if isinstance(value, str) else value
        if isinstance(key, dict | list) or key not in values:
            raise Unusable(f"{value!r} cannot be honoured: {otherwise}")
        return values[key]

    return convert
