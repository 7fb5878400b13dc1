"""The entries of a registry, by name."""

import json
from collections.abc import Mapping
from typing import Any

from llmops_assets.errors import LlmopsError

Entry = Mapping[str, Any]
# Where an entry's data may lie that no lane reads: another hub, or code that would have to be run.
ELSEWHERE = {
    "ms_hub_url": "ModelScope",
    "om_hub_url": "Modelers",
    "script_url": "a loading script, which would be code of others",
}


class RegistryError(LlmopsError):
    """A registry, or an entry of one, cannot be used; the message says why, and what to do."""


def parsed_entries(raw: bytes, file: str) -> dict[str, Entry]:
    """Return the entries of the registry whose content is `raw`; `file` is how errors call it. Raises RegistryError."""
    try:
        entries = json.loads(raw.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise RegistryError(
            f"{file}:{error.lineno}: is no JSON: {error.msg} (column {error.colno}); mend that line"
        ) from error
    except UnicodeDecodeError as error:
        raise RegistryError(f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    if not isinstance(entries, dict):
        raise RegistryError(f"{file}: must be an object of data sets by name, and is a {type(entries).__name__}")
    wrong = [name for name, entry in entries.items() if not isinstance(entry, dict)]
    if wrong:
        raise RegistryError(f'{file}: {wrong[0]}: must be an object such as {{"file_name": ...}}; mend the entry')
    return entries


def entry_of(entries: Mapping[str, Entry], name: str, file: str) -> Entry:
    """Return the entry `name`; raises RegistryError, naming those that there are."""
    if name in entries:
        return entries[name]
    has = ", ".join(sorted(entries)) or "none"
    raise RegistryError(f"Dataset {name!r} not found in {file}; it has: {has}; add an entry of that name, or name one")


def samples_of(entry: Entry) -> int | None:
    """Return how many rows the entry asks for; None for all. Raises RegistryError."""
    count = entry.get("num_samples")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise RegistryError(
            f"`num_samples` must be a whole number of rows, 1 or more, and is {count!r}; mend the entry"
        )
    return count
