"""The quarantine of a data set: every rejected record is kept, counted, and too many of them stop the build."""

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from llmops_assets.data.jsonl import JsonLine, excerpt, write_jsonl
from llmops_assets.data.records import QuarantinedRecord, Reason, RecordError, canonical_json
from llmops_assets.errors import LlmopsError

_SHOWN = 5
_IN_MEMORY = 1 << 20


def unwanted(source: str, origin: str, reason: Reason, detail: str, shown: str) -> QuarantinedRecord:
    """Return the entry of a well-formed record that is not wanted; `origin` is `file:line`, or a name alone."""
    file, _, line = origin.rpartition(":")
    name, number = (file, int(line)) if line.isdigit() else (origin, 0)
    return QuarantinedRecord(source, name, number, reason, detail, excerpt(shown))


def unreadable(source: str, origin_file: str, record: JsonLine, error: RecordError) -> QuarantinedRecord:
    """Return the entry of a record that breaks a rule of its format."""
    shown = excerpt(canonical_json(record.value))
    return QuarantinedRecord(source, origin_file, record.line, error.reason, str(error), shown)


class QuarantineLimitError(LlmopsError):
    """More of a source is malformed than the recipe allows."""


class Quarantine:
    """Collects rejected records and the number of records read from each source.

    Records beyond the first megabyte wait in a temporary file, so that a source of any size can be rejected.
    """

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()
        self._reasons: defaultdict[str, Counter[Reason]] = defaultdict(Counter)
        self._malformed: defaultdict[str, list[QuarantinedRecord]] = defaultdict(list)
        self._malformed_files: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._rows = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - as long as the quarantine

    def __len__(self) -> int:
        return sum(counts.total() for counts in self._reasons.values())

    @property
    def records(self) -> Iterator[QuarantinedRecord]:
        """All entries, in the order in which they were met."""
        self._rows.seek(0)
        for line in self._rows:
            row = json.loads(line)
            yield QuarantinedRecord(**{**row, "reason": Reason(row["reason"])})

    def add(self, record: QuarantinedRecord) -> None:
        self._reasons[record.source][record.reason] += 1
        if record.reason.is_malformed:
            self._malformed_files[record.source][record.origin_file] += 1
            if len(first := self._malformed[record.source]) < _SHOWN:
                first.append(record)
        self._rows.seek(0, 2)
        self._rows.write(json.dumps(record.to_row(), ensure_ascii=False).encode("utf-8") + b"\n")

    def by_reason(self, source: str | None = None) -> dict[str, int]:
        """Return counts by reason, largest first, of one source or of all."""
        counts: Counter[str] = Counter()
        for name, reasons in self._reasons.items():
            if source in (None, name):
                counts.update({str(reason): count for reason, count in reasons.items()})
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def rejected(self, source: str) -> int:
        """Return how many records of a source were rejected, for whatever reason."""
        return self._reasons[source].total()

    def malformed(self, source: str | None = None) -> int:
        """Return how many records of one source, or of all, are malformed."""
        return sum(
            count
            for name, reasons in self._reasons.items()
            for reason, count in reasons.items()
            if reason.is_malformed and source in (None, name)
        )

    def write(self, path: Path) -> int:
        """Write all entries to `path` in the order in which they were met and return their number."""
        return write_jsonl(path, (record.to_row() for record in self.records))

    def check(self, limit: float, *, where: str) -> None:
        """Raise QuarantineLimitError if a source has a larger share of malformed records than `limit`.

        `where` is the section of the recipe that holds `max_quarantined_share`.
        """
        for source, read in sorted(self.read.items()):
            bad = self.malformed(source)
            if bad and bad / read > limit:
                raise QuarantineLimitError(self._report(source, read, bad, limit, where))

    def _report(self, source: str, read: int, bad: int, limit: float, where: str) -> str:
        reasons = Counter({str(r): count for r, count in self._reasons[source].items() if r.is_malformed})
        first = self._malformed[source]
        lines = [f"  {r.origin_file}:{r.line}: {r.reason}: {r.detail}" for r in first]
        if bad > len(first):
            lines.append(f"  ... and {bad - len(first)} more")
        return "\n".join(
            [
                f"source '{source}': {bad} of {read} records ({bad / read:.1%}) are malformed, "
                f"above {where}.max_quarantined_share = {limit:.1%}",
                f"  files: {', '.join(f'{n} ({count})' for n, count in self._malformed_files[source].most_common())}",
                f"  reasons: {', '.join(f'{name} ({count})' for name, count in reasons.most_common())}",
                *lines,
                f"Mend these lines, or raise {where}.max_quarantined_share if they may be left out.",
            ]
        )
