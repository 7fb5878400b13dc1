"""The tiny lane, materialized once per session through the command line, and copies of it to change and break."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from filelock import FileLock

from llmops_assets.assets.champion_state import current_champion
from llmops_assets.assets.lineage import asset_key, latest_artifact, latest_metadata
from llmops_assets.assets.promotion import Champion
from llmops_assets.definitions import lane as lane_definitions
from llmops_assets.recipe import load_recipe
from llmops_assets.resources.artifacts import Artifact
from llmops_assets.resources.defaults import artifact_store, default_resources
from llmops_assets_tests.assets.tiny_lane import NAME, TinyLane, make_tiny_lane

BUILD = (
    *("corpus", "cpt_rows", "cpt_adapter", "cpt_report"),
    *("sft_set", "sft_rows", "sft_adapter", "sft_report"),
    "champion",
)


@pytest.fixture(scope="session")
def built_lane(tmp_path_factory: pytest.TempPathFactory) -> TinyLane:
    """A lane with v1.0 as champion. Tests that change it take `lane` instead."""
    # Parallel test workers share one lane: its folder is that of the session, not of the worker.
    session = tmp_path_factory.getbasetemp()
    session = session.parent if "PYTEST_XDIST_WORKER" in os.environ else session
    root = session / "built-lane"
    with FileLock(f"{root}.lock"):
        if not (root / "complete").is_file():
            shutil.rmtree(root, ignore_errors=True)
            done = make_tiny_lane(root).materialize(*BUILD)
            assert done.returncode == 0, done.stderr[-5000:] + done.stdout[-2000:]
            (root / "complete").touch()
    return TinyLane(root)


@dataclass
class OpenLane:
    """A lane with its Dagster instance, in this process."""

    files: TinyLane
    instance: dg.DagsterInstance

    def run(
        self, *assets: str, config: dict[str, Any] | None = None, tags: dict[str, str] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Materialize `assets` with their checks in one run; failures do not raise."""
        definitions = dg.Definitions.merge(
            lane_definitions(load_recipe(self.files.recipe_file)), dg.Definitions(resources=default_resources())
        )
        return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[asset_key(NAME, asset) for asset in assets],
            run_config={"ops": {f"{NAME}__{asset}": {"config": values} for asset, values in (config or {}).items()}},
            tags=tags,
            raise_on_error=False,
        )

    def complaint(self, *assets: str, config: dict[str, Any] | None = None) -> str:
        """Materialize `assets`, expect a failure, and return its message."""
        result = self.run(*assets, config=config)
        assert not result.success
        failures = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
        data = failures[0].step_failure_data
        assert data.user_failure_data is not None, data.error
        return data.user_failure_data.description or ""

    def metadata(self, asset: str) -> dict[str, Any]:
        return dict(latest_metadata(self.instance, NAME, asset) or {})

    def artifact(self, asset: str) -> Artifact:
        return latest_artifact(self.instance, artifact_store(), NAME, asset)

    def champion(self) -> Champion | None:
        return current_champion(self.instance, artifact_store(), NAME)


@pytest.fixture
def lane(built_lane: TinyLane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenLane]:
    """A copy of the built lane that a test may change; default locations point at it."""
    root = tmp_path / "lane"
    shutil.copytree(built_lane.root, root)
    recipe = root / "configs" / "recipes" / f"{NAME}.yaml"
    recipe.write_text(recipe.read_text().replace(str(built_lane.root), str(root)))
    files = TinyLane(root)
    files.take_over(monkeypatch)
    with dg.DagsterInstance.get() as instance:
        yield OpenLane(files, instance)
