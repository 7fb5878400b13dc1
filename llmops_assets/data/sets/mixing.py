"""How much each source contributes to a data set: drawn as a recipe's weights ask for, and reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmops_assets.data.records import Conversation
from llmops_assets.data.sets.data_set import DataSetSummary
from llmops_assets.data.sources.specs import MixedSource
from llmops_assets.data.splits import draw
from llmops_assets.errors import LlmopsError

# Positions are quotients of whole numbers of tokens; this absorbs their rounding.
_ROUNDING = 1 + 1e-9


class EmptySourceError(LlmopsError):
    """A source that has a weight gives nothing to train on."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Conversations as their sources were weighted: (conversation, 1 for its first copy, 2 for the next, ...).

    `limited_by` names the source that has no more to give at its share, or is `max_examples`.
    """

    rows: list[tuple[Conversation, int]]
    limited_by: str


def asked_shares(sources: Sequence[MixedSource]) -> dict[str, float]:
    """Return the share of train's tokens that each source shall have; empty if no source has a weight."""
    weights = {source.name: source.weight for source in sources if source.weight is not None}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def mix(
    conversations: Sequence[Conversation],
    tokens: Mapping[str, int],
    sources: Sequence[MixedSource],
    limit: int | None,
    seed: int,
) -> Mix:
    """Return the largest part of `conversations` in which each source has its share of the tokens.

    Every source is gone through in the order of its conversations' draws, `max_repeats` times. A conversation with so
    many tokens of its source up to its end joins when the whole has these over its source's share; all join that do
    before the first source is used up, and at most `limit`. The order is the first one, further copies at the end. A
    conversation added to a source moves only what is drawn last.

    Raises EmptySourceError if a source has none.
    """
    shares = asked_shares(sources)
    ranked: dict[str, list[tuple[float, int]]] = {name: [] for name in shares}
    for number, conversation in enumerate(conversations):
        ranked[conversation.source].append((draw(seed, conversation.id), number))
    if empty := [name for name, found in ranked.items() if not found]:
        raise EmptySourceError(
            f"source '{empty[0]}' has a weight and no conversation to train on; see in quarantine.jsonl what became of "
            "its records, mend it, or take it out of sft_set.sources"
        )
    sizes = {
        source.name: source.max_repeats * sum(tokens[conversations[n].id] for _, n in ranked[source.name])
        for source in sources
    }
    limiting = min(sizes, key=lambda name: (sizes[name] / shares[name], name))
    whole = sizes[limiting] / shares[limiting] * _ROUNDING
    joining: list[tuple[float, int, int]] = []
    for source in sources:
        used = 0
        for copy in range(1, source.max_repeats + 1):
            for _, number in sorted(ranked[source.name]):
                used += tokens[conversations[number].id]
                if used / shares[source.name] <= whole:
                    joining.append((used / shares[source.name], copy, number))
    joining.sort()
    chosen = sorted((copy, number) for _, copy, number in joining[:limit])
    limited_by = limiting if limit is None or len(joining) <= limit else "max_examples"
    return Mix([(conversations[number], copy) for copy, number in chosen], limited_by)


@dataclass(frozen=True, slots=True)
class SourceShare:
    """One line of a source mix report.

    `token_share` is the part of train's tokens (of all tokens where a set does not tell), 0 to 1, and `asked` what the
    recipe's weights ask for; None without them. `not_drawn` are usable records that the set's limits leave out.
    """

    source: str
    license: str
    read: int
    kept: int
    not_drawn: int
    tokens: int
    token_share: float
    asked: float | None


def source_mix(summary: DataSetSummary) -> list[SourceShare]:
    """Return what each source contributes, largest first, so that an over-represented one is seen at a glance."""
    tokens = {name: counts.get("train_tokens", counts["tokens"]) for name, counts in summary.sources.items()}
    total = sum(tokens.values())
    shares = [
        SourceShare(
            source=name,
            license=summary.licenses[name],
            read=counts["read"],
            kept=counts["kept"],
            not_drawn=counts.get("not_drawn", 0),
            tokens=tokens[name],
            token_share=tokens[name] / total if total else 0.0,
            asked=summary.shares.get(name),
        )
        for name, counts in summary.sources.items()
    ]
    return sorted(shares, key=lambda share: (-share.tokens, share.source))
