"""A rank that is killed while an asset trains: the step goes on once from its checkpoint, and not for ever."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg
import psutil
import pytest

from llmops_assets.training.checkpoints import MARKER
from llmops_assets_tests.assets.conftest import OpenLane

WEIGHTS = "adapter_model.safetensors"
# Another fingerprint than that of the lane's own adapter, and the same bytes (see training/test_run.py).
SAME_BYTES = {"cpt_adapter": {"backend": "zero1"}}


def retries(result: dg.ExecuteInProcessResult) -> int:
    return sum(event.event_type_value == "STEP_UP_FOR_RETRY" for event in result.all_events)


@pytest.mark.slow
def test_a_killed_rank_costs_one_retry_and_no_bytes(lane: OpenLane) -> None:
    expected = lane.artifact("cpt_adapter").manifest.files[WEIGHTS].sha256

    def ten_steps_are_saved() -> bool:
        return any((lane.files.root / "state").rglob(f"checkpoint-10/{MARKER}"))

    with ranks_killed(lane, ten_steps_are_saved, times=1):
        result = lane.run("cpt_adapter", config=SAME_BYTES)
    assert result.success
    assert retries(result) == 1
    manifest = lane.artifact("cpt_adapter").manifest
    assert (manifest.run_card or {})["resumed_from_step"] >= 10
    assert (manifest.run_card or {})["world_sizes"] == {"0": 1}
    assert manifest.files[WEIGHTS].sha256 == expected


def test_a_rank_that_is_killed_again_fails_the_run_with_a_sentence(lane: OpenLane) -> None:
    with ranks_killed(lane, lambda: True, times=2) as killed:
        result = lane.run("cpt_adapter", config=SAME_BYTES)
    assert not result.success
    assert retries(result) == 1
    assert len(killed) == 2
    failure = next(event for event in result.all_events if event.event_type_value == "STEP_FAILURE")
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert "rank 0 was ended by SIGKILL" in (data.description or "")
    assert "Launch the run again" in (data.description or "")


@contextmanager
def ranks_killed(lane: OpenLane, ready: Callable[[], bool], times: int) -> Iterator[list[int]]:
    """Kill the lane's training ranks, `times` different ones, each as soon as it runs and `ready` says so."""
    killed: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while len(killed) < times and not over.wait(0.02):
            for process in psutil.process_iter(["cmdline"]):
                command = process.info["cmdline"] or []
                is_rank = command[1:4] == ["-u", "-m", "llmops_assets.training.worker"]
                if is_rank and str(lane.files.root) in command[-1] and process.pid not in killed and ready():
                    process.kill()
                    killed.append(process.pid)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield killed
    finally:
        over.set()
        watcher.join()
