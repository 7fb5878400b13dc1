"""Queries behind counting and selecting. Counting costs as much as there are votes after the watermark, not in all."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Select, func, select

from llmops_assets.feedback.ballots import Ballot, CastVote, select_pairs
from llmops_assets.feedback.errors import WatermarkAhead
from llmops_assets.feedback.identity_leaks import IdentityNames
from llmops_assets.feedback.records import Message, PairCounts, PreferencePair
from llmops_assets.feedback.schema import battle, message_blob, rater, vote

# Bound parameters per statement: below the smallest limit of the supported databases.
_CHUNK = 500


def newest_seq(connection: Connection, deployment: str) -> int:
    """Number of the deployment's newest vote; 0 without votes."""
    return connection.execute(select(func.max(vote.c.seq)).where(vote.c.deployment == deployment)).scalar_one() or 0


def count_new_pairs(connection: Connection, deployment: str, after_seq: int) -> PairCounts:
    """Pairs that are usable now and were not when vote `after_seq` was the newest.

    Only comparisons that a later vote touched can have changed, so only those are decided, once as of the watermark and
    once as of now. Raises `WatermarkAhead` when there is no such vote yet.
    """
    through_seq = newest_seq(connection, deployment)
    if after_seq > through_seq:
        raise WatermarkAhead(
            f"deployment {deployment!r}: the watermark is vote {after_seq}, but the newest vote here is {through_seq}. "
            "The preference set was made from another feedback store; check the store's URL."
        )
    votes = [
        found
        for keys in _chunks(connection.execute(touched_comparisons(deployment, after_seq)).scalars().all())
        for found in _cast_votes(connection, votes_on_comparisons(deployment, keys))
    ]
    before = {pair.pair_id for pair in select_pairs([cast for cast in votes if cast.seq <= after_seq]).kept}
    now = {pair.pair_id for pair in select_pairs(votes).kept}
    return PairCounts(new_usable=len(now - before), through_seq=through_seq)


def touched_comparisons(deployment: str, after_seq: int) -> Select[tuple[str]]:
    """Comparison keys with a vote after `after_seq`: a range of the index on (deployment, seq)."""
    touched = select(battle.c.comparison_key).join_from(vote, battle, vote.c.battle_id == battle.c.id)
    return touched.where(vote.c.deployment == deployment, vote.c.seq > after_seq).distinct()


def votes_on_comparisons(deployment: str, keys: Sequence[str]) -> Select[Any]:
    """All votes under some comparison keys: from battles by (deployment, comparison_key) to votes by battle."""
    return _joined().where(battle.c.deployment == deployment, battle.c.comparison_key.in_(keys))


def votes_of_deployment(connection: Connection, deployment: str, through_seq: int) -> list[CastVote]:
    """Every vote of a deployment up to and including `through_seq`, oldest first."""
    query = _joined().where(vote.c.deployment == deployment, vote.c.seq <= through_seq).order_by(vote.c.seq)
    return _cast_votes(connection, query)


def load_pairs(connection: Connection, ballot: Ballot) -> list[PreferencePair]:
    """The kept votes of a ballot with their texts, in the ballot's order."""
    texts = _texts(connection, [kept.battle_id for kept in ballot.kept])
    pairs: list[PreferencePair] = []
    for kept in ballot.kept:
        prompt, left, right = texts[kept.battle_id]
        shown = [(left, kept.version_left), (right, kept.version_right)]
        chosen, rejected = shown if kept.verdict == "left" else reversed(shown)
        pairs.append(
            PreferencePair(
                pair_id=kept.pair_id,
                battle_id=kept.battle_id,
                vote_id=kept.vote_id,
                seq=kept.seq,
                prompt=[Message(**message) for message in json.loads(prompt)],
                chosen=chosen[0],
                rejected=rejected[0],
                chosen_version=chosen[1],
                rejected_version=rejected[1],
                rater_id=kept.rater_id,
                rater_kind=kept.rater_kind,
                chosen_side="left" if kept.verdict == "left" else "right",
            )
        )
    return pairs


def prompts_and_leaks(
    connection: Connection, votes: Sequence[CastVote], names: IdentityNames
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The last turn of every prompt voted on, by prompt hash, and the names that a battle's texts hold, by its id."""
    hashes = {vote.battle_id: vote.prompt_hash for vote in votes}
    prompts: dict[str, str] = {}
    leaks: dict[str, list[str]] = {}
    for battle_ids in _chunks(list(hashes)):
        texts = _texts(connection, battle_ids)
        for battle_id in battle_ids:
            prompt, left, right = texts[battle_id]
            turns = [turn["content"] for turn in json.loads(prompt)]
            # Prompts of one hash may differ in white space: that of the first vote stands for them.
            prompts.setdefault(hashes[battle_id], turns[-1])
            if found := set().union(*map(names.found_in, ("\n".join(turns), left, right))):
                leaks[battle_id] = sorted(found)
    return prompts, leaks


def versions_voted_on(connection: Connection, deployment: str, through_seq: int) -> set[str]:
    """Adapter hashes of both sides of every battle that has a vote up to `through_seq`."""
    query = select(battle.c.version_left, battle.c.version_right).join_from(
        vote, battle, vote.c.battle_id == battle.c.id
    )
    query = query.where(vote.c.deployment == deployment, vote.c.seq <= through_seq).distinct()
    return {sha for pair in connection.execute(query) for sha in pair}


def votes_by_month(connection: Connection, deployment: str, through_seq: int) -> dict[str, int]:
    """How many votes each month (UTC, `2026-11`) brought, edits and retractions included."""
    query = select(vote.c.voted_at).where(vote.c.deployment == deployment, vote.c.seq <= through_seq)
    return dict(sorted(Counter(f"{at:%Y-%m}" for at in connection.execute(query).scalars()).items()))


def _joined() -> Select[Any]:
    return (
        select(
            vote.c.seq,
            vote.c.id.label("vote_id"),
            vote.c.battle_id,
            vote.c.rater_id,
            rater.c.kind.label("rater_kind"),
            rater.c.trust.label("rater_trust"),
            rater.c.erased_at.is_not(None).label("rater_erased"),
            vote.c.verdict,
            vote.c.retracted,
            battle.c.prompt_hash,
            battle.c.comparison_key,
            battle.c.text_hash_left,
            battle.c.text_hash_right,
            battle.c.chars_left,
            battle.c.chars_right,
            battle.c.finish_left,
            battle.c.finish_right,
            battle.c.version_left,
            battle.c.version_right,
        )
        .join_from(vote, battle, vote.c.battle_id == battle.c.id)
        .join(rater, vote.c.rater_id == rater.c.id)
    )


def _cast_votes(connection: Connection, query: Select[Any]) -> list[CastVote]:
    return [CastVote(**row._mapping) for row in connection.execute(query)]


def _texts(connection: Connection, battle_ids: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    prompt, left, right = (message_blob.alias(name) for name in ("prompt", "left_text", "right_text"))
    query = (
        select(battle.c.id, prompt.c.body, left.c.body, right.c.body)
        .join_from(battle, prompt, battle.c.prompt_blob == prompt.c.id)
        .join(left, battle.c.response_left == left.c.id)
        .join(right, battle.c.response_right == right.c.id)
    )
    found: dict[str, tuple[str, str, str]] = {}
    for ids in _chunks(battle_ids):
        for battle_id, *bodies in connection.execute(query.where(battle.c.id.in_(ids))):
            found[battle_id] = (bodies[0], bodies[1], bodies[2])
    return found


def _chunks(values: Sequence[str]) -> Iterator[list[str]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk
