"""From the entries of any source to records: parsed, or put aside with the reason."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from llmops_assets.data.jsonl import JsonLine
from llmops_assets.data.quarantine import unreadable
from llmops_assets.data.records import QuarantinedRecord, RecordError

# An entry with its place (a file, or data set and split), or what had to be rejected before.
PlacedRow = tuple[str, JsonLine] | QuarantinedRecord
Parsed = TypeVar("Parsed")


def parsed(
    source: str, entries: Iterable[PlacedRow], parse: Callable[[dict[str, Any], str], Iterable[Parsed]]
) -> Iterator[Parsed | QuarantinedRecord]:
    """Yield what `parse` makes of each entry and its origin, `place:line`, and what had to be rejected.

    An entry that `parse` refuses with a RecordError is rejected as a whole.
    """
    for entry in entries:
        if isinstance(entry, QuarantinedRecord):
            yield entry
            continue
        place, line = entry
        try:
            found = list(parse(line.value, f"{place}:{line.line}"))
        except RecordError as error:
            yield unreadable(source, place, line, error)
            continue
        yield from found
