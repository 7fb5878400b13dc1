"""What must not have happened to an instance: the seven columns of the table, each with the sentences behind it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dagster import DagsterRunStatus

from llmops_assets.assets.champion_state import current_champion
from llmops_assets.assets.promotion import Champion
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets.resources.artifacts import MANIFEST, CorruptArtifact
from llmops_assets_tests.assets.tiny_lane import NAME
from llmops_assets_tests.chaos.waiting import holds_within
from llmops_assets_tests.chaos.world import ADAPTER, POOL, World

_SETTLING_SECONDS = 30.0


@dataclass
class Trial:
    """What one application of a fault did, and what is right after it.

    Attributes:
        statuses: The status that each run of this trial must have in the end.
        acknowledged_votes: Ids of votes that the store said it had recorded.
        resumed: Runs that must have continued from a checkpoint of an earlier run.
        trains: Whether the adapter was trained again and must have the bytes of the undisturbed one.
        objections: What the fault itself found wrong, beyond the checks that all faults share.
        recovery_seconds: From the fault until everything was as it should be.
    """

    statuses: dict[str, DagsterRunStatus] = field(default_factory=dict)
    acknowledged_votes: list[str] = field(default_factory=list)
    trains: bool = True
    resumed: bool = False
    may_promote: bool = False
    objections: list[str] = field(default_factory=list)
    recovery_seconds: float = 0.0


@dataclass(frozen=True)
class Findings:
    """One sentence per thing that is wrong, by column of the table."""

    orphans: list[str]
    wrong_statuses: list[str]
    slots_held: list[str]
    votes_lost: list[str]
    champion_moved: list[str]
    bytes_unequal: list[str]
    torn_accepted: list[str]

    def all(self) -> list[str]:
        """Every sentence of every column."""
        return [sentence for column in COLUMNS for sentence in getattr(self, column)]


COLUMNS = (
    "orphans",
    "wrong_statuses",
    "slots_held",
    "votes_lost",
    "champion_moved",
    "bytes_unequal",
    "torn_accepted",
)


def champion_of(world: World) -> Champion | None:
    """The champion as it is served now."""
    return current_champion(world.instance, world.store, NAME)


def observe(world: World, trial: Trial, champion_before: Champion | None) -> Findings:
    """Look at the instance after a trial. Processes and slots get half a minute to go; nothing else is waited for."""
    return Findings(
        orphans=_orphans(world),
        wrong_statuses=[*_wrong_statuses(world, trial.statuses), *trial.objections],
        slots_held=_slots_held(world),
        votes_lost=_votes_lost(world, trial.acknowledged_votes),
        champion_moved=_champion_moved(world, champion_before, trial.may_promote),
        bytes_unequal=_bytes_unequal(world, trial) if trial.trains else [],
        torn_accepted=_torn_accepted(world),
    )


def _orphans(world: World) -> list[str]:
    if holds_within(lambda: not world.leftovers(), _SETTLING_SECONDS):
        return []
    return [f"process {process.pid} is left: {' '.join(process.cmdline())[:200]}" for process in world.leftovers()]


def _wrong_statuses(world: World, right: Mapping[str, DagsterRunStatus]) -> list[str]:
    wrong = []
    for run_id, status in right.items():
        found = world.run(run_id).status
        if found != status:
            wrong.append(f"run {run_id} is {found.value}, right would be {status.value}")
    return wrong


def _slots_held(world: World) -> list[str]:
    def free() -> bool:
        claims = world.instance.event_log_storage.get_concurrency_info(POOL)
        return claims.active_slot_count == 0 and not claims.pending_steps

    if holds_within(free, _SETTLING_SECONDS):
        return []
    return [f"pool '{POOL}': {world.instance.event_log_storage.get_concurrency_info(POOL)}"]


def _votes_lost(world: World, acknowledged: list[str]) -> list[str]:
    if not acknowledged:
        return []
    with FeedbackStore(world.feedback_url) as store:
        kept = {row["vote"]["vote_id"] for row in store.export_votes(NAME) if row["record"] == "vote"}
    return [f"vote {vote} was acknowledged and is not there" for vote in acknowledged if vote not in kept]


def _champion_moved(world: World, before: Champion | None, may_promote: bool) -> list[str]:
    after = champion_of(world)
    if after == before:
        return []
    if after is None or not may_promote:
        return [f"champion was {before}, is {after}"]
    report = world.store.get(NAME, after.report_asset, after.report_fingerprint)
    verdict = report.manifest.summary["verdict"]
    candidate = report.manifest.inputs["candidate"]
    if verdict != "PASS" or candidate != after.adapter_sha256:
        return [f"{after.label} became champion on a report that says {verdict} about {candidate}"]
    return []


def _bytes_unequal(world: World, trial: Trial) -> list[str]:
    try:
        adapter = world.store.find(NAME, ADAPTER, world.built.fingerprint)
    except CorruptArtifact as error:
        return [str(error)]
    if adapter is None:
        return [f"{NAME}/{ADAPTER} was not published"]
    sha256 = adapter.manifest.files["adapter_model.safetensors"].sha256
    if sha256 != world.built.adapter_sha256:
        return [f"the adapter is {sha256}, undisturbed it is {world.built.adapter_sha256}"]
    if trial.resumed and (adapter.manifest.run_card or {}).get("resumed_from_step") is None:
        return ["the adapter was trained from the start again, not from the checkpoint that was there"]
    return []


def _torn_accepted(world: World) -> list[str]:
    """Every published artifact must be whole: a folder with a manifest is what everybody takes for one."""
    torn = []
    for manifest in Path(world.store.root).rglob(MANIFEST):
        try:
            known = json.loads(manifest.read_text())
            world.store.find(known["recipe"], known["asset"], known["fingerprint"])
        except (CorruptArtifact, ValueError, KeyError) as error:
            torn.append(f"{manifest}: {error}")
    return torn
