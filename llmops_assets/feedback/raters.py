"""Rater ids: a keyed hash of the subject, so that the database alone cannot tell who voted."""

import hashlib
import hmac
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, insert, select, update

from llmops_assets.feedback import schema
from llmops_assets.feedback.database import Database
from llmops_assets.feedback.errors import RaterPepperMissing, VoteRefused
from llmops_assets.feedback.records import Rater, RaterKind, RaterTrust

PEPPER_VARIABLE = "LLMOPS_RATER_PEPPER"
_SHORTEST_PEPPER = 16


class RaterIdentity:
    """Turns raters into ids with one secret: the argument, else `LLMOPS_RATER_PEPPER`, else a file beside SQLite.

    The file is made at the first vote, readable by its owner only. A database that already has raters never gets a new
    one: with another pepper everybody could vote again.
    """

    def __init__(self, database: Database, pepper: bytes | None) -> None:
        self._database = database
        self._pepper = pepper if pepper is not None else os.environ.get(PEPPER_VARIABLE, "").encode() or None
        if self._pepper is not None and len(self._pepper) < _SHORTEST_PEPPER:
            raise RaterPepperMissing(
                f"the rater pepper has {len(self._pepper)} bytes; use at least {_SHORTEST_PEPPER} random bytes "
                f"(for example: export {PEPPER_VARIABLE}=$(openssl rand -hex 32))."
            )

    def rater_id(self, rater: Rater) -> str:
        """16 hex digits of HMAC-SHA256(pepper, kind, trust, subject): an anonymous "ann" is not the authenticated one.

        Raises `RaterPepperMissing` when there is no secret and none may be made.
        """
        if self._pepper is None:
            self._pepper = self._pepper_beside_database()
        message = "\0".join([rater.kind, rater.trust, rater.subject]).encode()
        return hmac.new(self._pepper, message, hashlib.sha256).hexdigest()[:16]

    def _pepper_beside_database(self) -> bytes:
        if self._database.file is None:
            raise RaterPepperMissing(
                f"feedback store {self._database.name}: set {PEPPER_VARIABLE} to a long random secret, the same one "
                "for every process that records votes (for example the output of `openssl rand -hex 32`)."
            )
        secret = Path(f"{self._database.file}.pepper")
        with self._database.file_lock():
            if not secret.exists():
                self._refuse_to_replace(secret)
                _write_private(secret, secrets.token_hex(32).encode())
            return secret.read_bytes()

    def _refuse_to_replace(self, secret: Path) -> None:
        with self._database.read() as connection:
            known = connection.execute(select(schema.rater.c.id).limit(1)).first()
        if known:
            raise RaterPepperMissing(
                f"feedback store {self._database.name}: it holds raters, but the secret that made their ids is gone. "
                f"Restore {secret} or set {PEPPER_VARIABLE}; a new secret would let everybody vote twice."
            )


def ensure_rater(connection: Connection, rater_id: str, kind: RaterKind, trust: RaterTrust) -> None:
    """Add the rater if new. Raises `VoteRefused` if the id is known as another kind of rater, or was erased."""
    found = connection.execute(select(schema.rater).where(schema.rater.c.id == rater_id)).first()
    if found is None:
        row = {"id": rater_id, "kind": kind, "trust": trust, "created_at": datetime.now(UTC)}
        connection.execute(insert(schema.rater).values(row))
    elif found.erased_at is not None:
        raise VoteRefused(f"rater {rater_id} asked to be erased on {found.erased_at:%Y-%m-%d}; no vote is recorded.")
    elif (found.kind, found.trust) != (kind, trust):
        raise VoteRefused(
            f"rater {rater_id} is known as {found.trust} {found.kind}, not as {trust} {kind}; correct the vote."
        )


def erase(connection: Connection, rater_id: str) -> int:
    """Mark the rater erased and erase the text of their comments; returns how many votes stop counting."""
    votes = connection.execute(select(schema.vote.c.comment_blob).where(schema.vote.c.rater_id == rater_id)).all()
    comments = [row.comment_blob for row in votes if row.comment_blob is not None]
    for comment in comments:
        connection.execute(update(schema.message_blob).where(schema.message_blob.c.id == comment).values(body=None))
    connection.execute(
        update(schema.rater)
        .where(schema.rater.c.id == rater_id, schema.rater.c.erased_at.is_(None))
        .values(erased_at=datetime.now(UTC))
    )
    return len(votes)


def _write_private(path: Path, content: bytes) -> None:
    unfinished = Path(f"{path}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
