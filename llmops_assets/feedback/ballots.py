"""Which votes become preference pairs. One pure rule for counting, selecting and reporting."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from llmops_assets.feedback.records import Finish, LeftOutVote, RaterKind, RaterTrust, Side, Verdict
from llmops_assets.feedback.text_identity import pair_id

# Where people have spoken about two texts, machines are not heard: a pair is never decided by a mixture of kinds.
KIND_RANK: dict[RaterKind, int] = {"human": 0, "service": 1, "llm_judge": 2, "simulated": 3}


class Exclusion(StrEnum):
    """Why a vote is not a pair of its own."""

    SUPERSEDED = "superseded"  # the same rater changed it later
    RETRACTED = "retracted"
    TIE = "tie"
    BOTH_BAD = "both_bad"
    SKIP = "skip"
    RATER_ERASED = "rater_erased"
    RATER_ANONYMOUS = "rater_anonymous"
    IDENTICAL_TEXTS = "identical_texts"  # equal after normalization
    SIDE_ERROR = "side_error"  # a side ended with an error
    SIDE_TRUNCATED = "side_truncated"  # a side hit the length limit
    OUTRANKED = "outranked"  # a rater of higher rank judged the same two texts
    CONFLICTING = "conflicting"  # as many votes for left as for right on one battle
    OUTVOTED = "outvoted"  # the minority on one battle
    CONTRADICTORY = "contradictory"  # battles over the same prompt and texts came out opposite
    DUPLICATE = "duplicate"  # another battle already gave the same pair
    CORROBORATING = "corroborating"  # agrees with the vote that already gave the pair
    IDENTITY_LEAK = "identity_leak"  # prompt or answers name a model, a vendor or a version
    CONTAMINATED = "contaminated"  # prompt and answers hold an item of the lane's eval sets
    RATER_OVER_SHARE = "rater_over_share"  # its rater has given more than the set may take from one


@dataclass(frozen=True)
class CastVote:
    """One row of the vote table with what its battle and its rater say about it; no text.

    Hashes are those of `text_identity`; `chars_*` count characters of the responses as shown.
    """

    seq: int
    vote_id: str
    battle_id: str
    rater_id: str
    rater_kind: RaterKind
    rater_trust: RaterTrust
    rater_erased: bool
    verdict: Verdict
    retracted: bool
    prompt_hash: str
    comparison_key: str
    text_hash_left: str
    text_hash_right: str
    chars_left: int
    chars_right: int
    finish_left: Finish
    finish_right: Finish
    version_left: str
    version_right: str

    @property
    def chosen_side(self) -> Side | None:
        """The preferred side, or None when the verdict prefers neither."""
        return self.verdict if self.verdict in ("left", "right") else None

    @property
    def chosen_hash(self) -> str:
        """Hash of the preferred text. Only for decisive votes."""
        return self.text_hash_left if self.verdict == "left" else self.text_hash_right

    @property
    def pair_id(self) -> str:
        """Identity of the (prompt, chosen, rejected) that this vote states. Only for decisive votes."""
        rejected = self.text_hash_right if self.verdict == "left" else self.text_hash_left
        return pair_id(self.prompt_hash, self.chosen_hash, rejected)


@dataclass(frozen=True)
class Ballot:
    """`kept`: the votes that stand for one usable pair each, by `seq`. `excluded`: all others, each with its reason."""

    kept: list[CastVote]
    excluded: list[tuple[CastVote, Exclusion]]

    def left_out(self) -> list[LeftOutVote]:
        """All votes but the kept ones, by `seq`."""
        return [
            LeftOutVote(vote_id=vote.vote_id, battle_id=vote.battle_id, seq=vote.seq, reason=reason.value)
            for vote, reason in sorted(self.excluded, key=lambda entry: entry[0].seq)
        ]


def newest_votes(votes: Iterable[CastVote]) -> list[CastVote]:
    """Each rater's last word on each battle, retractions included, by `seq`."""
    newest: dict[tuple[str, str], CastVote] = {}
    for vote in sorted(votes, key=lambda vote: vote.seq):
        newest[vote.battle_id, vote.rater_id] = vote
    return sorted(newest.values(), key=lambda vote: vote.seq)


def select_pairs(votes: Sequence[CastVote]) -> Ballot:
    """Decide which votes stand for a usable pair.

    `votes` are all rows about some set of comparison keys; what happens under one key does not depend on another. A
    pair is represented by the first vote for the winning side, in the first battle that produced it.
    """
    current = newest_votes(votes)
    spoken = {vote.seq for vote in current}
    excluded = [(vote, Exclusion.SUPERSEDED) for vote in votes if vote.seq not in spoken]
    by_comparison: defaultdict[str, list[CastVote]] = defaultdict(list)
    for vote in current:
        if reason := _unfit(vote):
            excluded.append((vote, reason))
        else:
            by_comparison[vote.comparison_key].append(vote)
    kept = [pair for group in by_comparison.values() if (pair := _decide(group, excluded))]
    return Ballot(kept=sorted(kept, key=lambda vote: vote.seq), excluded=excluded)


def _unfit(vote: CastVote) -> Exclusion | None:
    if vote.retracted:
        return Exclusion.RETRACTED
    if vote.rater_erased:
        return Exclusion.RATER_ERASED
    if vote.rater_trust == "anonymous":
        return Exclusion.RATER_ANONYMOUS
    if vote.chosen_side is None:
        return Exclusion(vote.verdict)
    if "error" in (vote.finish_left, vote.finish_right):
        return Exclusion.SIDE_ERROR
    if "length" in (vote.finish_left, vote.finish_right):
        return Exclusion.SIDE_TRUNCATED
    if vote.text_hash_left == vote.text_hash_right:
        return Exclusion.IDENTICAL_TEXTS
    return None


def _decide(group: list[CastVote], excluded: list[tuple[CastVote, Exclusion]]) -> CastVote | None:
    """The vote that represents this comparison, or None; the reasons of all others are appended to `excluded`."""
    best = min(KIND_RANK[vote.rater_kind] for vote in group)
    excluded += [(vote, Exclusion.OUTRANKED) for vote in group if KIND_RANK[vote.rater_kind] > best]
    battles: defaultdict[str, list[CastVote]] = defaultdict(list)
    for vote in group:
        if KIND_RANK[vote.rater_kind] == best:
            battles[vote.battle_id].append(vote)
    majorities = [majority for ballots in battles.values() if (majority := _majority(ballots, excluded))]
    if not majorities:
        return None
    if len({majority[0].chosen_hash for majority in majorities}) > 1:
        excluded += [(vote, Exclusion.CONTRADICTORY) for majority in majorities for vote in majority]
        return None
    first, *later = sorted(majorities, key=lambda majority: majority[0].seq)
    excluded += [(vote, Exclusion.CORROBORATING) for vote in first[1:]]
    excluded += [(vote, Exclusion.DUPLICATE) for majority in later for vote in majority]
    return first[0]


def _majority(ballots: list[CastVote], excluded: list[tuple[CastVote, Exclusion]]) -> list[CastVote]:
    """Votes for the winning side of one battle, by `seq`; empty when the sides are level."""
    left = [vote for vote in ballots if vote.verdict == "left"]
    right = [vote for vote in ballots if vote.verdict == "right"]
    if len(left) == len(right):
        excluded += [(vote, Exclusion.CONFLICTING) for vote in ballots]
        return []
    winners, losers = (left, right) if len(left) > len(right) else (right, left)
    excluded += [(vote, Exclusion.OUTVOTED) for vote in losers]
    return winners
