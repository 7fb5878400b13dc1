"""Jobs for a Ray cluster. One has the name of a training stage, so that the launcher asks its recipe for GPUs."""

import json
import os
import time
from pathlib import Path

import dagster as dg

from llmops_assets_tests.resources.waiting import supervise_payload

FOLDER_TAG = "test/folder"
_LIFETIME_SECONDS = 120


@dg.op(pool="gpu", config_schema=dg.Permissive())
def tiny__sft_adapter(context: dg.OpExecutionContext) -> None:
    """Writes its environment to FOLDER/<run>.json and waits until FOLDER/<run>.end is there."""
    folder = Path(context.run.tags[FOLDER_TAG])
    partial = folder / f"{context.run_id}.partial"
    partial.write_text(json.dumps(dict(os.environ)))
    partial.rename(folder / f"{context.run_id}.json")
    deadline = time.monotonic() + _LIFETIME_SECONDS
    while not (folder / f"{context.run_id}.end").exists() and time.monotonic() < deadline:
        time.sleep(0.05)


@dg.op(pool="gpu")
def supervise(context: dg.OpExecutionContext) -> None:
    """Supervises a trainer-like process tree, with a leader that saves when it is asked to stop."""
    supervise_payload(Path(context.run.tags[FOLDER_TAG]), "--polite", grace_seconds=1.0)


@dg.job(executor_def=dg.in_process_executor)
def stage() -> None:
    tiny__sft_adapter()


@dg.job(executor_def=dg.in_process_executor)
def supervising() -> None:
    supervise()
