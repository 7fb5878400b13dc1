"""A sweep with real training: points share rows and an MLflow parent; the table tells what became of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from llmops_assets.assets.lineage import asset_key, latest_metadata
from llmops_assets.assets.prepared_rows import rows_asset
from llmops_assets.assets.sft_sets import sft_set_asset
from llmops_assets.assets.sweeps import Sweep, sweep_assets
from llmops_assets.recipe import Recipe, RecipeError, load_recipe
from llmops_assets.resources.defaults import artifact_store, default_resources, feedback_resource
from llmops_assets.resources.tracking import Tracking
from llmops_assets_tests.assets.swept_lane import POINT, SWEEP, TABLE, make_swept_lane
from llmops_assets_tests.assets.tiny_lane import NAME, make_tiny_lane

LOW, HIGH, BROKEN = "learning_rate=1e-05", "learning_rate=0.01", "learning_rate=1e+35"


@dataclass
class Swept:
    """A lane with an SFT stage and a sweep over its learning rate."""

    file: Path
    instance: dg.DagsterInstance

    @property
    def recipe(self) -> Recipe:
        return load_recipe(self.file)

    def change(self, section: str, **values: Any) -> None:
        """Write `values` into a section of the recipe; `a.b` names a section inside one."""
        content = yaml.safe_load(self.file.read_text())
        target = content
        for name in section.split("."):
            target = target.setdefault(name, {})
        target.update(values)
        self.file.write_text(yaml.safe_dump(content))

    def run(self, *assets: str, point: str | None = None) -> bool:
        """Materialize `assets` in one run, of one partition where `point` is given; return whether that went well."""
        recipe = self.recipe
        assert recipe.sft_set is not None
        assert recipe.sft is not None
        definitions = dg.Definitions(
            assets=[sft_set_asset(recipe, recipe.sft_set), rows_asset(recipe, recipe.sft), *sweep_assets(recipe)],
            resources=default_resources(),
        )
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[asset_key(NAME, asset) for asset in assets],
            partition_key=point,
            raise_on_error=False,
        )
        return result.success

    def metadata(self, asset: str) -> dict[str, Any]:
        return dict(latest_metadata(self.instance, NAME, asset) or {})

    def table(self) -> dict[str, dict[str, Any]]:
        """Materialize the table and return its rows by point."""
        assert self.run(TABLE)
        return {row.data["point"]: dict(row.data) for row in self.metadata(TABLE)["points"].records}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    """Rows prepared, the points LOW and HIGH trained, BROKEN tried."""
    root = tmp_path_factory.mktemp("sweep") / "lane"
    lane = make_swept_lane(root, [0.00001, 0.01, 1.0e35, 0.02])
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DAGSTER_HOME", "LLMOPS_STATE_DIR", "LLMOPS_CONFIGS_DIR", "OMP_NUM_THREADS"):
            patch.setenv(name, lane.environment[name])
        for name in ("LLMOPS_ARTIFACTS_URL", "LLMOPS_FEEDBACK_URL", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        (root / "records").mkdir()
        with dg.DagsterInstance.local_temp(str(root / "records")) as instance:
            swept = Swept(lane.recipe_file, instance)
            assert swept.run("sft_set", "sft_rows")
            assert [swept.run(POINT, point=point) for point in (LOW, HIGH, BROKEN)] == [True, True, False]
            yield swept


def tracked_runs() -> dict[str, Any]:
    """The MLflow runs of the lane, by id."""
    tracking = default_resources()["tracking"]
    assert isinstance(tracking, Tracking)
    client = tracking._client()
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    return {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}


@pytest.mark.slow
def test_the_table_tells_what_became_of_every_point(swept: Swept) -> None:
    rows = swept.table()
    assert {point: row["status"] for point, row in rows.items()} == {
        HIGH: "done",
        LOW: "done",
        BROKEN: "failed",
        "learning_rate=0.02": "not run",
    }
    assert rows[HIGH]["final loss"] < rows[LOW]["final loss"]
    assert rows[HIGH]["tokens/s"] > 0
    assert "(run " in rows[BROKEN]["detail"]
    assert "learning_rate" in swept.metadata(TABLE)["report"]
    assert swept.metadata(TABLE)["plot"].startswith("![eval_loss by point](data:image/png;base64,")


@pytest.mark.slow
def test_the_best_is_by_the_named_metric(swept: Swept) -> None:
    rows = swept.table()
    assert rows[HIGH]["eval loss"] < rows[LOW]["eval loss"]
    assert swept.metadata(TABLE)["best_point"] == HIGH
    swept.change("sweeps.rates", goal="max")
    swept.table()
    assert swept.metadata(TABLE)["best_point"] == LOW
    assert swept.metadata(TABLE)["best_settings"] == {"learning_rate": 1e-5}
    swept.change("sweeps.rates", goal="min")


@pytest.mark.slow
def test_points_share_rows_and_are_no_adapters_of_the_lane(swept: Swept) -> None:
    store, outcomes = artifact_store(), Sweep(swept.recipe, SWEEP)
    records = swept.instance.fetch_materializations(asset_key(NAME, POINT), limit=10).records
    manifests = [
        store.get(NAME, POINT, str(record.asset_materialization.metadata["artifact/fingerprint"].value)).manifest
        for record in records
        if record.asset_materialization is not None
    ]
    assert len({manifest.fingerprint for manifest in manifests}) == 2
    (rows,) = {manifest.inputs["sft_rows"] for manifest in manifests}
    assert len(swept.instance.fetch_materializations(asset_key(NAME, "sft_rows"), limit=10).records) == 1
    request = outcomes.request(swept.instance, outcomes.points[LOW], store, feedback_resource())
    assert request.rows.manifest.data_version == rows
    assert {manifest.spec["max_steps"] for manifest in manifests} == {8}
    with feedback_resource().open() as votes:
        sha = manifests[0].files["adapter_model.safetensors"].sha256
        assert votes.version_label(sha) is None


@pytest.mark.slow
def test_points_are_children_of_one_mlflow_run(swept: Swept) -> None:
    swept.table()
    runs = tracked_runs()
    children = [run for run in runs.values() if "llmops/sweep_point" in run.data.tags]
    (parent,) = {run.data.tags["mlflow.parentRunId"] for run in children}
    assert {run.data.tags["llmops/sweep_point"] for run in children} == {LOW, HIGH, BROKEN}
    assert set(runs) - {run.info.run_id for run in children} == {parent}
    assert runs[parent].data.tags["best/learning_rate"] == "0.01"


@pytest.mark.slow
def test_a_trained_point_is_not_trained_again_and_a_changed_stage_makes_it_out_of_date(swept: Swept) -> None:
    assert swept.run(POINT, point=HIGH)
    assert swept.metadata(POINT)["reused"] is True
    swept.change("sft", seed=8)
    row = swept.table()[HIGH]
    assert (row["status"], row["detail"]) == ("out of date", "seed changed since; run it again")
    assert "best_point" not in swept.metadata(TABLE)
    swept.change("sft", seed=7, logging_steps=2)
    assert swept.table()[HIGH]["status"] == "done"


@pytest.mark.slow
def test_a_point_that_an_earlier_grid_trained_is_found_and_joins_the_runs_of_the_wider_one(swept: Swept) -> None:
    swept.change("sweeps.rates.grid", weight_decay=[0.0])
    point = f"{HIGH}:weight_decay=0.0"
    assert swept.run(POINT, point=point)
    assert swept.metadata(POINT)["reused"] is True
    assert swept.table()[point]["status"] == "done"
    (child,) = (run for run in tracked_runs().values() if run.data.tags.get("llmops/sweep_point") == point)
    parent = tracked_runs()[child.data.tags["mlflow.parentRunId"]]
    assert parent.data.tags["best/weight_decay"] == "0.0"


def test_a_bad_point_is_named_with_file_line_and_key(tmp_path: Path) -> None:
    lane = make_tiny_lane(tmp_path / "lane")
    text = lane.recipe_file.read_text() + (
        "sweeps:\n"
        "  rates:\n"
        "    stage: sft\n"
        "    metric: mean_loss\n"
        "    points:\n"
        "    - {learning_rate: 1e-5}\n"
        "    - {learning_rate: fast}\n"
    )
    lane.recipe_file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(lane.recipe_file)
    line = len(text.splitlines())
    assert f"{lane.recipe_file}:{line}: sweeps.rates.points.1.learning_rate: " in str(caught.value)


def test_points_that_learn_from_logits_are_asked_for_with_what_was_recorded() -> None:
    sources = {"sources": [{"kind": "files", "name": "rows", "pattern": "rows.jsonl"}]}
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "description": "A lane for the tests.",
            "base_model": {"name": "embedded"},
            "sft_set": sources,
            "teacher": {"name": "embedded"},
            "kd": {"max_steps": 5, "learning_rate": 0.01, "top_k": 64},
            "sweeps": {SWEEP: {"stage": "kd", "grid": {"alpha": [0.1, 0.9]}, "metric": "kd/divergence"}},
        }
    )
    sweep = Sweep(recipe, SWEEP)
    first, second = sweep.points.values()
    asked = sweep.asked(first.spec.model_copy(update={"top_k": 32}))
    assert [point.spec for point in asked] == [point.spec.model_copy(update={"top_k": 32}) for point in (first, second)]
