"""Reading a file of exported votes into a store, line by line; what cannot be taken in is set aside, never dropped."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection

from llmops_assets.errors import LlmopsError
from llmops_assets.feedback.database import Database
from llmops_assets.feedback.interchange import BrokenLine, parse_line, take_in
from llmops_assets.feedback.records import ImportResult

# Lines per transaction: enough to be fast, few enough that voters need not wait.
_BATCH = 200


@dataclass
class _Tally:
    """What became of the lines so far. `rejected`: line number from 1, reason, raw bytes."""

    new: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    rejected: list[tuple[int, str, bytes]] = field(default_factory=list)


def import_file(database: Database, path: Path, deployment: str, quarantine: Path | None) -> ImportResult:
    """Take in every good line of `path` and write the others to `quarantine`; see `FeedbackStore.import_votes`.

    A killed import loses at most the open transaction, and can be repeated.
    """
    target = quarantine or path.with_name(f"{path.name}.quarantine.jsonl")
    tally = _Tally()
    with path.open("rb") as file:
        lines = ((number, raw) for number, raw in enumerate(file, start=1) if raw.strip())
        while batch := list(islice(lines, _BATCH)):
            with database.write() as connection:
                _take_batch(connection, batch, deployment, tally)
    if tally.rejected:
        _write_quarantine(target, path, tally.rejected)
    return ImportResult(
        accepted=tally.new["vote"],
        duplicates=tally.duplicates,
        versions_added=tally.new["version"],
        rejected=[(number, reason) for number, reason, _ in tally.rejected],
        quarantine_path=target if tally.rejected else None,
    )


def _take_batch(connection: Connection, batch: Iterable[tuple[int, bytes]], deployment: str, tally: _Tally) -> None:
    for number, raw in batch:
        try:
            line = parse_line(raw)
            with connection.begin_nested():
                is_new = take_in(connection, line, deployment)
        except (BrokenLine, LlmopsError) as error:
            tally.rejected.append((number, str(error), raw))
            continue
        if is_new:
            tally.new[line.record] += 1
        elif line.record == "vote":
            tally.duplicates += 1


def _write_quarantine(target: Path, source: Path, rejected: Iterable[tuple[int, str, bytes]]) -> None:
    """One JSON object per rejected line. Bytes that are not UTF-8 are kept as surrogate escapes (PEP 383)."""
    unfinished = target.with_name(f"{target.name}.new")
    with unfinished.open("w", encoding="ascii") as file:
        for number, reason, raw in rejected:
            kept = raw.decode(errors="surrogateescape").rstrip("\r\n")
            file.write(json.dumps({"file": str(source), "line": number, "reason": reason, "raw": kept}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(target)
