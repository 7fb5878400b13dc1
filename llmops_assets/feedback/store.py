"""The feedback store: the one place where battles and votes are written, counted and selected."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from pydantic import ValidationError

from llmops_assets.feedback import interchange, raters, reading, versions
from llmops_assets.feedback.ballots import select_pairs
from llmops_assets.feedback.battles import add_battle, new_id
from llmops_assets.feedback.database import Database
from llmops_assets.feedback.errors import VoteRefused
from llmops_assets.feedback.evidence import VoteEvidence
from llmops_assets.feedback.identity_leaks import IdentityNames
from llmops_assets.feedback.importing import import_file
from llmops_assets.feedback.migrate import upgrade_to_head
from llmops_assets.feedback.records import (
    AdapterVersion,
    Battle,
    ImportResult,
    NewVote,
    PairCounts,
    PairSelection,
    Rater,
    Verdict,
    describe,
)
from llmops_assets.feedback.votes import add_vote, retraction_of


class FeedbackStore:
    """Battles and votes at `url`: `sqlite:////absolute/file.db` or `postgresql://...`; the schema is brought to date.

    Safe to open and use from several threads and processes at once. `rater_pepper` (16 bytes or more) keys the rater
    ids; by default it comes from `LLMOPS_RATER_PEPPER`, else from a private file beside the SQLite database. Raises
    `StoreUnavailable` when the database cannot be opened.
    """

    def __init__(self, url: str, *, rater_pepper: bytes | None = None) -> None:
        self._database = Database(url)
        self._identity = raters.RaterIdentity(self._database, rater_pepper)
        upgrade_to_head(self._database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The store must not be used afterwards."""
        self._database.close()

    def register_version(
        self,
        *,
        adapter_sha256: str,
        deployment: str,
        stage: str,
        parent_sha256: str | None,
        base_model: str,
        asset_key: str,
        materialization_run: str | None,
        mlflow_run: str | None,
    ) -> str:
        """Register an adapter and return its label, `v1.0` or `v1.1`; the same hash always has the same label.

        A `dpo` adapter takes the next minor under its parent's major, any other stage the next major with minor 0.
        Raises `UnknownVersion` for a `dpo` adapter without a registered parent, `VersionRefused` when the hash belongs
        to another deployment.
        """
        with self._database.write() as connection:
            return versions.register(
                connection,
                adapter_sha256=adapter_sha256,
                deployment=deployment,
                stage=stage,
                parent_sha256=parent_sha256,
                base_model=base_model,
                asset_key=asset_key,
                materialization_run=materialization_run,
                mlflow_run=mlflow_run,
            )

    def version_label(self, adapter_sha256: str) -> str | None:
        """The label of an adapter, or None when it is not registered."""
        with self._database.read() as connection:
            found = versions.find(connection, adapter_sha256)
        return None if found is None else found.label

    def versions(self, deployment: str) -> list[AdapterVersion]:
        """All registered adapters of a deployment, v1.0 first."""
        with self._database.read() as connection:
            return versions.of_deployment(connection, deployment)

    def record_battle(self, battle: Battle, *, battle_id: str | None = None) -> str:
        """Store two answers as they were shown and return the battle's id, which nobody can guess.

        A caller that must be repeatable gives its own id; the same battle under the same id is stored once. Raises
        `UnknownVersion` for an adapter that is not registered, `BattleRefused` for a malformed id or another battle's.
        """
        chosen_id = new_id() if battle_id is None else battle_id
        with self._database.write() as connection:
            add_battle(connection, battle, chosen_id, datetime.now(UTC))
        return chosen_id

    def record_vote(
        self,
        battle_id: str,
        rater: Rater,
        verdict: Verdict,
        *,
        idempotency_key: str | None = None,
        reason_tags: Sequence[str] = (),
        comment: str | None = None,
        shown_at: datetime | None = None,
        dwell_ms: int | None = None,
        supersedes: str | None = None,
    ) -> str:
        """Add a vote and return its id; when this returns, the vote is on disk.

        One rater has one current vote per battle: to change it, pass the old vote's id as `supersedes`. A repeated
        `idempotency_key` of the same rater returns the first vote's id. Raises `UnknownBattle`, `UnknownVote`,
        `VoteRefused`, or `UnsafeText` for a comment with chat tokens.
        """
        rater_id = self._identity.rater_id(rater)
        new = _new_vote(
            battle_id,
            rater_id,
            verdict,
            idempotency_key,
            reason_tags=list(reason_tags),
            comment=comment,
            shown_at=shown_at,
            dwell_ms=dwell_ms,
            supersedes=supersedes,
        )
        with self._database.write() as connection:
            raters.ensure_rater(connection, rater_id, rater.kind, rater.trust)
            return add_vote(connection, new)

    def record_judged_battles(self, judged: Iterable[tuple[str, Battle, Verdict]], rater: Rater) -> int:
        """Store battles under the ids given, each with the verdict of `rater`, in one transaction; return how many.

        Readers see all of the votes or none, so a trigger that counts them never starts on half a batch. Repeating it
        adds nothing. Raises as `record_battle` and `record_vote` do, and has then stored nothing.
        """
        rater_id = self._identity.rater_id(rater)
        count = 0
        with self._database.write() as connection:
            raters.ensure_rater(connection, rater_id, rater.kind, rater.trust)
            for battle_id, battle, verdict in judged:
                add_battle(connection, battle, battle_id, datetime.now(UTC))
                add_vote(connection, _new_vote(battle_id, rater_id, verdict, idempotency_key=battle_id))
                count += 1
        return count

    def retract_vote(self, vote_id: str, rater: Rater) -> str:
        """Take a vote back by adding a retraction, whose id is returned. Raises `UnknownVote`, `VoteRefused`."""
        rater_id = self._identity.rater_id(rater)
        with self._database.write() as connection:
            return add_vote(connection, retraction_of(connection, vote_id, rater_id, new_id(), datetime.now(UTC)))

    def erase_rater(self, rater: Rater) -> int:
        """Honour a person's wish to be forgotten: their comments go, their votes stop counting; returns how many.

        Only text-free rows remain. Sets and adapters that were made before keep what they learned.
        """
        rater_id = self._identity.rater_id(rater)
        with self._database.write() as connection:
            votes = raters.erase(connection, rater_id)
        self._database.truncate_log()
        return votes

    def count_usable(self, deployment: str, *, after_seq: int) -> PairCounts:
        """How many pairs became usable since vote `after_seq` (0: ever); the cost grows with the newer votes only.

        Equals the number of pairs in `usable_pairs(d)` that `usable_pairs(d, through_seq=after_seq)` lacks. Raises
        `WatermarkAhead` when the watermark is newer than every vote here.
        """
        with self._database.read() as connection:
            return reading.count_new_pairs(connection, deployment, after_seq)

    def usable_pairs(self, deployment: str, *, through_seq: int | None = None) -> PairSelection:
        """All usable pairs as of vote `through_seq` (default: now), in vote order, with the reasons for the rest."""
        with self._database.read() as connection:
            newest = reading.newest_seq(connection, deployment)
            through = newest if through_seq is None else min(through_seq, newest)
            ballot = select_pairs(reading.votes_of_deployment(connection, deployment, through))
            pairs = reading.load_pairs(connection, ballot)
        return PairSelection(pairs=pairs, left_out=ballot.left_out(), through_seq=through)

    def labels_voted_on(self, deployment: str, *, through_seq: int | None = None) -> dict[str, str]:
        """Labels by adapter hash of the versions that votes up to `through_seq` (default: now) are about."""
        with self._database.read() as connection:
            through = reading.newest_seq(connection, deployment) if through_seq is None else through_seq
            seen = reading.versions_voted_on(connection, deployment, through)
            registered = versions.of_deployment(connection, deployment)
        return {known.adapter_sha256: known.label for known in registered if known.adapter_sha256 in seen}

    def evidence(self, deployment: str, names: IdentityNames, *, through_seq: int | None = None) -> VoteEvidence:
        """What the quality report knows of a deployment's votes as of vote `through_seq` (default: now)."""
        labels = self.labels_voted_on(deployment, through_seq=through_seq)
        with self._database.read() as connection:
            newest = reading.newest_seq(connection, deployment)
            through = newest if through_seq is None else min(through_seq, newest)
            votes = reading.votes_of_deployment(connection, deployment, through)
            prompts, leaks = reading.prompts_and_leaks(connection, votes, names)
            return VoteEvidence(
                deployment=deployment,
                through_seq=through,
                votes=votes,
                labels=labels,
                prompts=prompts,
                leaks=leaks,
                months=reading.votes_by_month(connection, deployment, through),
            )

    def export_votes(self, deployment: str) -> Iterator[dict[str, Any]]:
        """Versions and votes as JSON values, one per line to write; `import_votes` restores them exactly."""
        with self._database.read() as connection:
            yield from interchange.exported(connection, deployment)

    def import_votes(self, path: Path, deployment: str, *, quarantine: Path | None = None) -> ImportResult:
        """Add the lines of an export; what is there already is counted as a duplicate, so an import can be repeated.

        Broken or contradictory lines go to `quarantine` (default: `<path>.quarantine.jsonl`) with file, line, reason
        and the raw text; every other line is taken in. A vote keeps its number where that is higher than the store's
        newest. Raises `OSError` when a file cannot be read or written.
        """
        return import_file(self._database, path, deployment, quarantine)


def _new_vote(battle_id: str, rater_id: str, verdict: Verdict, idempotency_key: str | None, **details: Any) -> NewVote:
    """A vote of this moment; `details` are further fields of `NewVote`. Raises `VoteRefused`, `UnsafeText`."""
    if verdict not in get_args(Verdict):
        raise VoteRefused(f"verdict {verdict!r} is unknown; use one of {', '.join(get_args(Verdict))}.")
    bare: dict[str, Any] = {"reason_tags": [], "comment": None, "shown_at": None, "dwell_ms": None, "supersedes": None}
    try:
        return NewVote(
            vote_id=new_id(),
            battle_id=battle_id,
            rater_id=rater_id,
            verdict=verdict,
            voted_at=datetime.now(UTC),
            retracted=False,
            idempotency_key=idempotency_key,
            **(bare | details),
        )
    except ValidationError as error:
        raise VoteRefused(f"vote on battle {battle_id!r}: {describe(error)}") from error
