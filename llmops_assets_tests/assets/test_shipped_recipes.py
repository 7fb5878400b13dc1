"""Every shipped recipe runs from its sources to its last adapter, on the embedded base with small files of its kind."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from safetensors import safe_open

from llmops_assets.assets.lineage import latest_artifact, latest_metadata
from llmops_assets.feedback.records import Battle, Message, Rater, Response
from llmops_assets.recipe import Recipe, load_recipe
from llmops_assets.resources.defaults import artifact_store, feedback_resource
from llmops_assets.settings import configs_dir
from llmops_assets_tests.assets.shipped_lanes import make_shipped_lane
from llmops_assets_tests.assets.tiny_lane import TinyLane

NAMES = ("chat", "medical", "invoice_idp", "codegen", "dsl")


def materialize(lane: TinyLane, *selection: str, gates_may_refuse: bool = False) -> None:
    """`dagster asset materialize` the selection as a user would; a failure shows what it printed."""
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "llmops_assets.definitions", "--select"]
    done = subprocess.run(
        [*command, " or ".join(selection)],
        env=lane.environment,
        cwd=lane.root,
        capture_output=True,
        text=True,
        timeout=1100,
    )
    refused = gates_may_refuse and "DagsterAssetCheckFailedError" in done.stderr
    assert done.returncode == 0 or refused, done.stderr[-6000:] + done.stdout[-2000:]


@contextmanager
def opened(lane: TinyLane, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The lane's Dagster instance; default locations of this process point at the lane."""
    for name in ("DAGSTER_HOME", "LLMOPS_STATE_DIR", "LLMOPS_CONFIGS_DIR"):
        monkeypatch.setenv(name, lane.environment[name])
    for name in ("LLMOPS_ARTIFACTS_URL", "LLMOPS_FEEDBACK_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    with dg.DagsterInstance.get() as instance:
        yield instance


def vote(recipe: Recipe, sha: str, count: int) -> None:
    """Record votes that prefer the first of two answers of the adapter `sha`."""
    rater = Rater(subject="a tester", kind="human")
    with feedback_resource().open() as store:
        for index in range(count):
            battle = Battle(
                deployment=recipe.name,
                prompt=[Message(role="user", content=f"Which is task {index}?")],
                left=Response(text=f"It is number {index}.", version=sha),
                right=Response(text=f"Nobody can know that, not even {index}.", version=sha),
                seed=index,
            )
            store.record_vote(store.record_battle(battle), rater, "left")


def trained_rank(folder: Path) -> int:
    """Return the rank of the adapter in `folder`, of whose weights some have left zero."""
    file = next(folder.rglob("adapter_model.safetensors"))
    with safe_open(str(file), "pt") as tensors:
        keys = list(tensors.keys())
        assert any(tensors.get_tensor(key).abs().max() > 0 for key in keys if "lora_B" in key)
        return tensors.get_tensor(next(key for key in keys if "lora_A" in key)).shape[0]


def test_every_recipe_but_the_demo_is_run_here() -> None:
    shipped = {file.stem for file in (configs_dir() / "recipes").glob("*.yaml")}
    assert shipped == {*NAMES, "python_docs"}


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_runs_from_its_sources_to_its_last_adapter(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = make_shipped_lane(tmp_path / "lane", name)
    recipe = load_recipe(lane.root / "configs" / "recipes" / f"{name}.yaml")
    built = [stage for stage in recipe.stages if stage != "dpo"]
    reports = [f"{stage}_report" for stage in built] + (["distillation_report"] if recipe.kd else [])
    materialize(lane, *(f'+key:"{name}/{stage}_adapter"' for stage in built))
    # Three steps at the rate of a real model need not make a tiny one better.
    materialize(lane, *(f'key:"{name}/{report}"' for report in reports), gates_may_refuse=True)
    with opened(lane, monkeypatch) as instance:
        assert all(latest_artifact(instance, artifact_store(), name, report) for report in reports)
        if recipe.dpo is not None:
            parent = latest_metadata(instance, name, "sft_adapter")
            assert parent is not None
            vote(recipe, str(parent["adapter_sha256"]), 30)
            materialize(lane, *(f'key:"{name}/{a}"' for a in ("preference_set", "dpo_rows", "reference_log_probs")))
            materialize(lane, f'key:"{name}/dpo_adapter"')
        for stage, spec in recipe.stages.items():
            artifact = latest_artifact(instance, artifact_store(), name, f"{stage}_adapter")
            assert trained_rank(artifact.folder) == spec.lora_r
            card = artifact.manifest.run_card
            assert card is not None
            first = stage == next(iter(recipe.stages))
            assert (card["parent"] is None) == first, "each stage continues the one before"
        if recipe.kd is not None:
            report = latest_artifact(instance, artifact_store(), name, "distillation_report").folder / "report.json"
            assert json.loads(report.read_text())["tokens"] is not None
