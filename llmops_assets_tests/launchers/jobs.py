"""Jobs whose run workers end in every way that a launcher must cope with; launched in processes of their own."""

import os
import signal
import time
from pathlib import Path

import dagster as dg

from llmops_assets_tests.resources.waiting import supervise_payload

IGNORING_SECONDS = 60


class Folder(dg.Config):
    """Where an op leaves traces for the test."""

    path: str


@dg.op
def finish() -> None:
    """Succeeds at once."""


@dg.op(pool="gpu")
def use_gpu() -> None:
    """Asks for the pool, succeeds at once."""


@dg.op(pool="gpu")
def train(config: Folder) -> None:
    """Supervises a trainer-like process tree until it is stopped."""
    supervise_payload(Path(config.path), grace_seconds=1.0)


@dg.op(pool="gpu")
def ignore_signals(config: Folder) -> None:
    """Cannot be canceled politely."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    (Path(config.path) / "ignoring").touch()
    time.sleep(IGNORING_SECONDS)


@dg.op
def exit_without_an_end() -> None:
    """Leaves the run worker with exit code 0 and the run without an end."""
    print("leaving early", flush=True)
    os._exit(0)


@dg.job(executor_def=dg.in_process_executor)
def quick() -> None:
    finish()


@dg.job(executor_def=dg.in_process_executor)
def on_the_gpu() -> None:
    use_gpu()


@dg.job(executor_def=dg.in_process_executor)
def training() -> None:
    train()


@dg.job(executor_def=dg.in_process_executor)
def stubborn() -> None:
    ignore_signals()


@dg.job(executor_def=dg.in_process_executor)
def vanishing() -> None:
    exit_without_an_end()
