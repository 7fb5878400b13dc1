"""The table of `make chaos`, as Markdown."""

import statistics
from collections.abc import Sequence

from llmops_assets_tests.chaos.matrix import Row
from llmops_assets_tests.chaos.observations import COLUMNS

_TITLES = {
    "orphans": "orphans",
    "wrong_statuses": "wrong statuses",
    "slots_held": "slots held",
    "votes_lost": "votes lost",
    "champion_moved": "champion moved wrongly",
    "bytes_unequal": "bytes unequal",
    "torn_accepted": "torn accepted",
}


def markdown_table(rows: Sequence[Row]) -> str:
    """Return one line per row: what was wrong how often, and the median of the seconds until all was right again."""
    titles = ["fault", "what is right", "repetitions", *(_TITLES[column] for column in COLUMNS), "median recovery"]
    lines = [titles, ["---"] * len(titles), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(row: Row) -> list[str]:
    if row.skipped is not None:
        return [row.fault, row.right, f"left out: {row.skipped}", *[""] * (len(COLUMNS) + 1)]
    counts = dict(row.findings)
    counts["wrong_statuses"] += row.unfinished
    median = f"{statistics.median(row.recovery_seconds):.1f} s" if row.recovery_seconds else "-"
    return [row.fault, row.right, str(row.repetitions), *(str(counts[column]) for column in COLUMNS), median]
