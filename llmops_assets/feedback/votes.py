"""Writing votes. A vote is never changed: an edit or a retraction is a new row that supersedes the rater's last one."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select

from llmops_assets.feedback.battles import add_text
from llmops_assets.feedback.errors import UnknownBattle, UnknownVote, VoteRefused
from llmops_assets.feedback.records import NewVote
from llmops_assets.feedback.schema import battle, message_blob, vote


def add_vote(connection: Connection, new: NewVote, seq: int = 0) -> str:
    """Write a vote and return its id; a repeated idempotency key returns the first vote's id instead.

    Its number is the next free one, or `seq` where that is higher: a vote restored from an export keeps its number if
    it can, so that watermarks stay valid. The caller's transaction must be the only writer, and the rater must exist.

    Raises `UnknownBattle`, `UnknownVote` (superseded vote not found), or `VoteRefused` when the rater has voted already
    and does not say which vote this one supersedes, when that one is not the rater's newest, or when the key was used
    for another vote.
    """
    if (earlier := _with_same_key(connection, new)) is not None:
        if not earlier.same_act(new):
            raise VoteRefused(
                f"idempotency key {new.idempotency_key!r} was used by this rater for vote {earlier.vote_id}, which "
                "says something else; use a fresh key for each vote."
            )
        return earlier.vote_id
    deployment = connection.execute(select(battle.c.deployment).where(battle.c.id == new.battle_id)).scalar()
    if deployment is None:
        raise UnknownBattle(
            f"battle {new.battle_id!r} is not in this store; record the battle first, or check the id "
            "(record_battle returns it)."
        )
    _refuse_forked_chain(connection, new)
    columns = new.model_dump(exclude={"vote_id", "reason_tags", "comment", "supersedes"})
    newest = connection.execute(select(func.max(vote.c.seq))).scalar_one() or 0
    row = columns | {
        "seq": max(seq, newest + 1),
        "id": new.vote_id,
        "deployment": deployment,
        "reason_tags_json": json.dumps(new.reason_tags),
        "comment_blob": None if new.comment is None else add_text(connection, new.comment, salt=new.vote_id),
        "supersedes_vote_id": new.supersedes,
    }
    connection.execute(insert(vote).values(row))
    return new.vote_id


def retraction_of(connection: Connection, vote_id: str, rater_id: str, retraction_id: str, now: datetime) -> NewVote:
    """The row that takes a vote back. Raises `UnknownVote`, or `VoteRefused` when it is someone else's."""
    known = find_vote(connection, vote_id)
    if known is None:
        raise UnknownVote(f"vote {vote_id!r} is not in this store; check the id (record_vote returns it).")
    if known.rater_id != rater_id:
        raise VoteRefused(f"vote {vote_id} belongs to another rater; only its own rater can take it back.")
    changes = {"vote_id": retraction_id, "voted_at": now, "supersedes": vote_id, "retracted": True}
    return known.model_copy(update=changes | {"idempotency_key": None, "comment": None, "reason_tags": []})


def find_vote(connection: Connection, vote_id: str) -> NewVote | None:
    """A vote as it was recorded."""
    return _record(connection.execute(_as_recorded().where(vote.c.id == vote_id)).first())


def newest_of_rater(connection: Connection, battle_id: str, rater_id: str) -> NewVote | None:
    """The rater's last word on a battle, which may be a retraction."""
    chain = _as_recorded().where(vote.c.battle_id == battle_id, vote.c.rater_id == rater_id)
    return _record(connection.execute(chain.order_by(vote.c.seq.desc()).limit(1)).first())


def _refuse_forked_chain(connection: Connection, new: NewVote) -> None:
    newest = newest_of_rater(connection, new.battle_id, new.rater_id)
    newest_id = None if newest is None else newest.vote_id
    if new.supersedes == newest_id:
        return
    if new.supersedes is None:
        raise VoteRefused(
            f"this rater has voted on battle {new.battle_id} already (vote {newest_id}); to change the vote, pass "
            f"supersedes={newest_id!r}."
        )
    target = find_vote(connection, new.supersedes)
    if target is None:
        raise UnknownVote(f"the superseded vote {new.supersedes!r} is not in this store; check the id.")
    if (target.battle_id, target.rater_id) != (new.battle_id, new.rater_id):
        raise VoteRefused(
            f"vote {new.supersedes} belongs to another rater or battle; a vote supersedes its own rater's only."
        )
    raise VoteRefused(
        f"vote {new.supersedes} was superseded already; the rater's newest vote on this battle is {newest_id}."
    )


def _with_same_key(connection: Connection, new: NewVote) -> NewVote | None:
    if new.idempotency_key is None:
        return None
    same_key = (vote.c.rater_id == new.rater_id) & (vote.c.idempotency_key == new.idempotency_key)
    return _record(connection.execute(_as_recorded().where(same_key)).first())


def _as_recorded() -> Select[Any]:
    columns = (column for column in vote.c if column.name not in ("seq", "deployment", "comment_blob"))
    comment = message_blob.c.body.label("comment")
    return select(*columns, comment).outerjoin_from(vote, message_blob, vote.c.comment_blob == message_blob.c.id)


def _record(row: Row[Any] | None) -> NewVote | None:
    if row is None:
        return None
    values = dict(row._mapping)
    values |= {"vote_id": values.pop("id"), "supersedes": values.pop("supersedes_vote_id")}
    return NewVote(reason_tags=json.loads(values.pop("reason_tags_json")), **values)
