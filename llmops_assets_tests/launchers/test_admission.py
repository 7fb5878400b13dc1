"""A run that asks for more than its launcher offers is refused at launch, with a sentence, and once."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.launcher import LaunchRunContext
from dagster._core.storage.tags import MAX_RETRIES_TAG
from dagster._core.test_utils import instance_for_test

from llmops_assets.assets.adapters import GPU_POOL
from llmops_assets.definitions import defs
from llmops_assets.launchers.admission import RunRefused
from llmops_assets.launchers.routing import RoutingRunLauncher
from llmops_assets.launchers.run_demand import UnknownDemand
from llmops_assets_tests.launchers.runs import reload
from llmops_assets_tests.launchers.test_routing import recording


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with instance_for_test() as instance:
        yield instance


def launch(
    instance: dg.DagsterInstance, *, gpus: int | None = None, gpu_memory: str | None = None, **sft: Any
) -> dg.DagsterRun:
    """Send the SFT stage of the embedded recipe, with these settings, to a launcher that offers this much."""
    offered = {key: value for key, value in {"gpus": gpus, "gpu_memory": gpu_memory}.items() if value is not None}
    offers = {"offers": offered} if offered else {}
    launcher = RoutingRunLauncher(
        routes={GPU_POOL: "box"}, default="box", launchers={"box": {**recording("box"), **offers}}
    )
    launcher.register_instance(instance)
    run = instance.create_run_for_job(
        defs.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection={dg.AssetKey(["python_docs", "sft_adapter"])}
        ),
        run_config={"ops": {"python_docs__sft_adapter": {"config": sft}}},
    )
    try:
        launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    finally:
        run = reload(instance, run.run_id)
    return run


@pytest.mark.parametrize(
    ("gpus", "asked"),
    [
        (2, {"device": "gpu", "num_processes": 2}),
        (0, {"device": "cpu", "num_processes": 2}),
        (0, {"device": "gpu", "num_processes": 2, "placement": "ray"}),
        (None, {"device": "gpu", "num_processes": 64}),
    ],
)
def test_what_fits_is_launched(instance: dg.DagsterInstance, gpus: int | None, asked: dict[str, Any]) -> None:
    assert launch(instance, gpus=gpus, **asked).tags["launched_by"] == "box"


def test_too_many_gpus_are_refused_and_not_tried_again(instance: dg.DagsterInstance) -> None:
    with pytest.raises(RunRefused, match=r"python_docs/sft_adapter asks for 4 GPUs .* 'box' gets 1"):
        launch(instance, gpus=1, device="gpu", num_processes=4)
    [refused] = instance.get_runs(limit=1)
    assert "launched_by" not in refused.tags
    assert refused.tags[MAX_RETRIES_TAG] == "0"


def test_too_little_memory_is_refused_with_what_would_fit(instance: dg.DagsterInstance) -> None:
    with pytest.raises(RunRefused, match=r"python_docs/sft_adapter: stage sft needs about .* These changes fit: "):
        launch(instance, gpu_memory="4GB", batch_size=512)
    assert launch(instance, gpu_memory="24GB", batch_size=8).tags["launched_by"] == "box"
    assert launch(instance, gpu_memory="1GB", batch_size=8, device="cpu").tags["launched_by"] == "box"


def test_settings_that_cannot_be_read_are_refused_with_their_key(instance: dg.DagsterInstance) -> None:
    with pytest.raises(UnknownDemand, match=r"ops.python_docs__sft_adapter.config: num_processes: .*greater than 0"):
        launch(instance, gpus=1, device="gpu", num_processes=0)
