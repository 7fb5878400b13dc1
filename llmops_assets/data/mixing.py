"""How much each source contributes to a data set."""

from dataclasses import dataclass

from llmops_assets.data.specs import DataSetSummary


@dataclass(frozen=True, slots=True)
class SourceShare:
    """One line of a source mix report. `token_share` is the part of the data set's tokens, 0 to 1."""

    source: str
    license: str
    read: int
    kept: int
    tokens: int
    token_share: float


def source_mix(summary: DataSetSummary) -> list[SourceShare]:
    """Return what each source contributes, largest first, so that an over-represented one is seen at a glance."""
    total = sum(counts["tokens"] for counts in summary.sources.values())
    shares = [
        SourceShare(
            name,
            summary.licenses[name],
            counts["read"],
            counts["kept"],
            counts["tokens"],
            counts["tokens"] / total if total else 0.0,
        )
        for name, counts in summary.sources.items()
    ]
    return sorted(shares, key=lambda share: (-share.tokens, share.source))
