"""Votes as JSON Lines, one self-contained act per line, out of one store and into another without a change.

A `version` line registers an adapter; a `vote` line carries the vote, its battle and the rater's hashed id.
"""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError
from sqlalchemy import Connection, select

from llmops_assets.feedback import raters, versions
from llmops_assets.feedback.battles import add_battle, find_battle
from llmops_assets.feedback.errors import VoteRefused
from llmops_assets.feedback.records import (
    AdapterVersion,
    Battle,
    NewVote,
    RaterKind,
    RaterTrust,
    Record,
    RecordId,
    describe,
)
from llmops_assets.feedback.schema import rater, vote
from llmops_assets.feedback.votes import add_vote, find_vote


class VersionLine(Record):
    """An adapter that later lines refer to."""

    record: Literal["version"] = "version"
    version: AdapterVersion


class VoteLine(Record):
    """One vote with everything that it refers to, except the adapters. `seq` is its number in the exporting store."""

    record: Literal["vote"] = "vote"
    seq: int = Field(ge=1, lt=2**62)
    rater_kind: RaterKind
    rater_trust: RaterTrust
    battle_id: RecordId
    battle_at: AwareDatetime
    battle: Battle
    vote: NewVote


Line = VersionLine | VoteLine
_line = TypeAdapter[Line](Annotated[Line, Field(discriminator="record")])


class BrokenLine(Exception):
    """A line that is no valid record; its message is the reason shown to the user."""


def parse_line(raw: bytes) -> Line:
    """Read one line strictly: UTF-8, no duplicate keys, no NaN, no unknown key. Raises `BrokenLine`."""
    try:
        text = raw.decode()
        return _line.validate_python(json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant))
    except UnicodeDecodeError as error:
        raise BrokenLine(f"not UTF-8: byte {error.start} cannot be read") from error
    except json.JSONDecodeError as error:
        raise BrokenLine(f"not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise BrokenLine("nested too deeply") from error
    except ValidationError as error:
        raise BrokenLine(describe(error)) from error


def exported(connection: Connection, deployment: str) -> Iterator[dict[str, Any]]:
    """All versions of a deployment, then all votes in order, as JSON values. Erased raters' votes are left out."""
    for version in versions.of_deployment(connection, deployment):
        yield VersionLine(version=version).model_dump(mode="json")
    query = (
        select(vote.c.id)
        .join_from(vote, rater, vote.c.rater_id == rater.c.id)
        .where(vote.c.deployment == deployment, rater.c.erased_at.is_(None))
        .order_by(vote.c.seq)
    )
    for vote_id in connection.execute(query).scalars().all():
        found = find_line(connection, vote_id)
        assert found is not None, "the snapshot that listed the vote also holds it"
        yield found.model_dump(mode="json")


def find_line(connection: Connection, vote_id: str) -> VoteLine | None:
    """The export line of one vote."""
    cast = find_vote(connection, vote_id)
    if cast is None:
        return None
    known = find_battle(connection, cast.battle_id)
    about = select(vote.c.seq, rater.c.kind, rater.c.trust).join_from(vote, rater, vote.c.rater_id == rater.c.id)
    row = connection.execute(about.where(vote.c.id == vote_id)).one()
    assert known is not None, "a foreign key ties each vote to its battle"
    return VoteLine(
        seq=row.seq,
        rater_kind=row.kind,
        rater_trust=row.trust,
        battle_id=cast.battle_id,
        battle_at=known[1],
        battle=known[0],
        vote=cast,
    )


def take_in(connection: Connection, line: Line, deployment: str) -> bool:
    """Write one parsed line; False when the store holds it already.

    Raises an `LlmopsError` with the reason when the line contradicts the store or belongs to another deployment.
    """
    belongs_to = line.version.deployment if isinstance(line, VersionLine) else line.battle.deployment
    if belongs_to != deployment:
        raise VoteRefused(f"the line belongs to deployment {belongs_to!r}, not {deployment!r}")
    if isinstance(line, VersionLine):
        return versions.restore(connection, line.version)
    if line.battle_id != line.vote.battle_id:
        raise VoteRefused(f"battle_id {line.battle_id!r} and vote.battle_id {line.vote.battle_id!r} differ")
    if known := find_line(connection, line.vote.vote_id):
        if known.model_copy(update={"seq": line.seq}) == line:
            return False
        raise VoteRefused(f"vote {line.vote.vote_id} is in this store with other content")
    raters.ensure_rater(connection, line.vote.rater_id, line.rater_kind, line.rater_trust)
    add_battle(connection, line.battle, line.battle_id, line.battle_at)
    return add_vote(connection, line.vote, line.seq) == line.vote.vote_id


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BrokenLine(f"the key {twice!r} appears twice in one object")
    return values


def _no_constant(name: str) -> None:
    raise BrokenLine(f"{name} is not a JSON value")
