"""The quarantine of a data set: every rejected record is kept, counted, and too many of them stop the build."""

from collections import Counter
from pathlib import Path

from llmops_assets.data.jsonl import write_jsonl
from llmops_assets.data.records import QuarantinedRecord
from llmops_assets.errors import LlmopsError

_SHOWN = 5


class QuarantineLimitError(LlmopsError):
    """More of a source is malformed than the recipe allows."""


class Quarantine:
    """Collects rejected records and the number of records read from each source."""

    def __init__(self) -> None:
        self.records: list[QuarantinedRecord] = []
        self.read: Counter[str] = Counter()

    def add(self, record: QuarantinedRecord) -> None:
        self.records.append(record)

    def by_reason(self, source: str | None = None) -> dict[str, int]:
        """Return counts by reason, largest first, of one source or of all."""
        counts = Counter(str(r.reason) for r in self.records if source in (None, r.source))
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def malformed(self, source: str | None = None) -> list[QuarantinedRecord]:
        return [record for record in self.records if record.reason.is_malformed and source in (None, record.source)]

    def write(self, path: Path) -> int:
        """Write all entries to `path` in the order in which they were met and return their number."""
        return write_jsonl(path, (record.to_row() for record in self.records))

    def check(self, limit: float, *, where: str) -> None:
        """Raise QuarantineLimitError if a source has a larger share of malformed records than `limit`.

        `where` is the section of the recipe that holds `max_quarantined_share`.
        """
        for source, read in sorted(self.read.items()):
            bad = self.malformed(source)
            if bad and len(bad) / read > limit:
                raise QuarantineLimitError(_report(source, read, bad, limit, where))


def _report(source: str, read: int, bad: list[QuarantinedRecord], limit: float, where: str) -> str:
    files = Counter(record.origin_file for record in bad)
    reasons = Counter(str(record.reason) for record in bad)
    lines = [f"  {r.origin_file}:{r.line}: {r.reason}: {r.detail}" for r in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"  ... and {len(bad) - _SHOWN} more")
    return "\n".join(
        [
            f"source '{source}': {len(bad)} of {read} records ({len(bad) / read:.1%}) are malformed, "
            f"above {where}.max_quarantined_share = {limit:.1%}",
            f"  files: {', '.join(f'{name} ({count})' for name, count in files.most_common())}",
            f"  reasons: {', '.join(f'{name} ({count})' for name, count in reasons.most_common())}",
            *lines,
            f"Mend these lines, or raise {where}.max_quarantined_share if they may be left out.",
        ]
    )
