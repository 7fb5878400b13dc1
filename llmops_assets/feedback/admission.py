"""Which usable pairs a preference set takes: none that names its model, and no more of one rater than it may have."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from llmops_assets.feedback.ballots import Exclusion
from llmops_assets.feedback.identity_leaks import IdentityNames
from llmops_assets.feedback.records import LeftOutVote, PairSelection, PreferencePair
from llmops_assets.feedback.specs import PreferenceSetSpec
from llmops_assets.feedback.store import FeedbackStore


def admitted_pairs(
    store: FeedbackStore, deployment: str, spec: PreferenceSetSpec, base_model: str, *, through_seq: int | None = None
) -> PairSelection:
    """The usable pairs that `spec` admits to a preference set, and why every other vote is none of them.

    What one rater may have of the set, `within_rater_share` cuts when all that leaves for another reason has left.
    """
    usable = store.usable_pairs(deployment, through_seq=through_seq)
    names = identity_names(store, deployment, spec, base_model, through_seq=usable.through_seq)
    return without_leaks(usable, names)


def identity_names(
    store: FeedbackStore, deployment: str, spec: PreferenceSetSpec, base_model: str, *, through_seq: int | None = None
) -> IdentityNames:
    """The names that give a side away in votes up to `through_seq`: labels of versions that had no vote are none."""
    labels = store.labels_voted_on(deployment, through_seq=through_seq)
    return IdentityNames(labels.values(), base_model, more=spec.identity_names, allowed=spec.allowed_names)


def without_leaks(selection: PairSelection, names: IdentityNames) -> PairSelection:
    """Leave out the pairs whose prompt or answers hold one of `names`, each with the places."""
    left_out: dict[str, str] = {}
    for pair in selection.pairs:
        prompt = "\n".join(message.content for message in pair.prompt)
        if places := names.places(prompt=prompt, chosen=pair.chosen, rejected=pair.rejected):
            left_out[pair.vote_id] = places
    return leaving_out(selection, left_out, Exclusion.IDENTITY_LEAK)


def within_rater_share(selection: PairSelection, share: float | None) -> PairSelection:
    """Leave out pairs until no rater has decided more than `share` of those that remain; none without a share.

    Which of a rater's pairs stay is drawn by hash of the pair, so a set that grows keeps what it had. Simulated votes
    neither count nor are cut: they are one rule by intent, and labelled. With fewer raters than 1 / `share` no cut
    helps, and nothing is left out; the quality report says so.
    """
    if share is None:
        return selection
    real = [pair for pair in selection.pairs if pair.rater_kind != "simulated"]
    counts = Counter(pair.rater_id for pair in real)
    largest = most_per_rater(counts.values(), share)
    if largest is None:
        return selection
    left_out: dict[str, str] = {}
    for rater, count in counts.items():
        ranked = sorted((pair for pair in real if pair.rater_id == rater), key=_draw)
        detail = f"its rater decided {count} pairs; a share of {share:g} admits {largest}"
        left_out |= {pair.vote_id: detail for pair in ranked[largest:]}
    return leaving_out(selection, left_out, Exclusion.RATER_OVER_SHARE)


def most_per_rater(counts: Iterable[int], share: float) -> int | None:
    """The largest number k such that k is at most `share` of what remains when every rater keeps at most k pairs.

    None where there are too few raters for any.
    """
    given = list(counts)
    if not given or len(given) * share < 1:
        return None
    most = max(given)
    # The remainder falls with k by less than k itself, so going down from above ends at the largest k that holds.
    while most > (allowed := math.floor(share * sum(min(count, most) for count in given) + 1e-9)):
        most = allowed
    return most


def quarantine_row(vote: LeftOutVote) -> dict[str, Any]:
    """Return a vote that was left out as a row of quarantine.jsonl: ids, no text, no rater."""
    return {"source": "votes", **vote.model_dump()}


def leaving_out(selection: PairSelection, details: dict[str, str], reason: Exclusion) -> PairSelection:
    """Move the pairs whose vote id is in `details` to the votes left out."""
    if not details:
        return selection
    gone = [_left_out(pair, reason, details[pair.vote_id]) for pair in selection.pairs if pair.vote_id in details]
    return PairSelection(
        pairs=[pair for pair in selection.pairs if pair.vote_id not in details],
        left_out=sorted([*selection.left_out, *gone], key=lambda vote: vote.seq),
        through_seq=selection.through_seq,
    )


def _left_out(pair: PreferencePair, reason: Exclusion, detail: str) -> LeftOutVote:
    return LeftOutVote(vote_id=pair.vote_id, battle_id=pair.battle_id, seq=pair.seq, reason=reason.value, detail=detail)


def _draw(pair: PreferencePair) -> str:
    return hashlib.sha256(f"rater share {pair.pair_id}".encode()).hexdigest()
