"""What the records say of a sweep's points: materializations, failed and canceled runs, other settings, other rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import AssetMaterializationPlannedData
from dagster._core.test_utils import create_run_for_test

from llmops_assets.assets.adapter_training import RUNTIME_ONLY, engine_inputs, on_one_rank
from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.lineage import asset_key, materialized
from llmops_assets.assets.sweep_outcomes import point_outcomes
from llmops_assets.resources.artifacts import ArtifactStore
from llmops_assets.training.specs import SftSpec
from llmops_assets.training.sweep_points import SweepPoint, SweepSpec, sweep_points
from llmops_assets.training.sweep_report import PointOutcome

RECIPE, ASSET = "lane", "rates_sweep_point"
STAGE = SftSpec(learning_rate=1e-4, max_steps=5)
SWEEP = SweepSpec(stage="sft", grid={"learning_rate": [1e-5, 2e-5, 1.0]}, metric="mean_loss")
FIRST, SECOND, THIRD = "learning_rate=1e-05", "learning_rate=2e-05", "learning_rate=1.0"


@dataclass
class Records:
    """A Dagster instance and a store, with a point asset that writes an artifact as training would, or fails."""

    instance: dg.DagsterInstance
    store: ArtifactStore

    def run(self, point: SweepPoint, *, rows: str = "rows 1", fails_with: str = "") -> None:
        request = BuildRequest(
            recipe=RECIPE,
            asset=ASSET,
            spec=point.spec,
            inputs={"sft_rows": rows} | engine_inputs(point.spec),
            code_version="1",
            runtime_only=RUNTIME_ONLY,
            equivalent=on_one_rank(point.spec),
        )

        @dg.asset(key=asset_key(RECIPE, ASSET), partitions_def=dg.StaticPartitionsDefinition([FIRST, SECOND, THIRD]))
        def trained() -> dg.MaterializeResult:
            if fails_with:
                raise dg.Failure(fails_with, allow_retries=False)
            built = Built(summary={"mean_loss": point.spec.learning_rate, "train_rows": 8})
            artifact, reused = build_once(self.store, request, lambda slot: built)
            return materialized(artifact, reused=reused, metadata={})

        dg.materialize([trained], instance=self.instance, partition_key=point.name, raise_on_error=False)

    def outcomes(self, stage: SftSpec = STAGE, *, rows: str = "rows 1") -> dict[str, PointOutcome]:
        found = point_outcomes(
            self.instance,
            self.store,
            recipe=RECIPE,
            asset=ASSET,
            points=sweep_points(SWEEP, stage),
            inputs={"sft_rows": rows},
        )
        return {outcome.name: outcome for outcome in found}


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    (tmp_path / "records").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "records")) as instance:
        yield Records(instance, ArtifactStore(root=str(tmp_path / "store"), staging=str(tmp_path / "staging")))


def test_done_failed_and_not_run_are_told_apart(records: Records) -> None:
    first, second, _ = sweep_points(SWEEP, STAGE)
    records.run(first)
    records.run(second, fails_with="the loss is NaN; lower learning_rate")
    outcomes = records.outcomes()
    assert [outcome.status for outcome in outcomes.values()] == ["done", "failed", "not run"]
    assert outcomes[FIRST].figures == {"mean_loss": 1e-5, "train_rows": 8.0}
    assert outcomes[SECOND].detail.startswith("the loss is NaN; lower learning_rate (run ")


def test_the_newest_run_of_a_point_counts(records: Records) -> None:
    first, *_ = sweep_points(SWEEP, STAGE)
    records.run(first)
    records.run(first, fails_with="no room")
    assert records.outcomes()[FIRST].status == "failed"
    records.run(first)
    assert records.outcomes()[FIRST].status == "done"


def test_other_settings_or_rows_make_a_point_out_of_date(records: Records) -> None:
    first, *_ = sweep_points(SWEEP, STAGE)
    records.run(first)
    other = records.outcomes(STAGE.model_copy(update={"seed": 8}), rows="rows 2")[FIRST]
    assert (other.status, other.detail) == ("out of date", "seed, sft_rows changed since; run it again")
    watched = STAGE.model_copy(update={"logging_steps": 1, "device": "cpu"})
    assert records.outcomes(watched)[FIRST].status == "done"
    on_two_ranks = STAGE.model_copy(update={"num_processes": 2})
    assert records.outcomes(on_two_ranks)[FIRST].detail == "gradient_accumulation changed since; run it again"


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (dg.DagsterRunStatus.NOT_STARTED, "queued"),
        (dg.DagsterRunStatus.STARTED, "running"),
        (dg.DagsterRunStatus.CANCELED, "canceled"),
    ],
)
def test_a_run_that_has_no_result_yet_is_told(records: Records, status: dg.DagsterRunStatus, shown: str) -> None:
    first, *_ = sweep_points(SWEEP, STAGE)
    run = create_run_for_test(records.instance, status=status, tags={"dagster/partition": first.name})
    planned = dg.DagsterEvent(
        event_type_value="ASSET_MATERIALIZATION_PLANNED",
        job_name=run.job_name,
        event_specific_data=AssetMaterializationPlannedData(asset_key(RECIPE, ASSET), partition=first.name),
    )
    records.instance.report_dagster_event(planned, run.run_id)
    outcome = records.outcomes()[FIRST]
    assert (outcome.status, outcome.detail) == (shown, f"run {run.run_id}")
