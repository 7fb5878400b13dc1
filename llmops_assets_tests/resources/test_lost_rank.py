"""A rank that was killed is told from one that failed, by what torchrun and Ray leave in the log."""

from pathlib import Path

import pytest

from llmops_assets.resources.lost_rank import how_it_was_lost
from llmops_assets.resources.supervised_process import SupervisedProcessFailed

REPORT = """\
llmops_assets.training.worker FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2026-11-20_19:00:41
  host      : box
  rank      : 0 (local_rank: 0)
  exitcode  : {other} (pid: 100)
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-20_19:00:40
  host      : box
  rank      : 1 (local_rank: 1)
  exitcode  : {root} (pid: 101)
  error_file: <N/A>
  traceback : Signal 9 (SIGKILL) received by PID 101
============================================================
"""


def failure(exit_code: int, log: str) -> SupervisedProcessFailed:
    return SupervisedProcessFailed(["torchrun"], exit_code, Path("worker.log"), log.splitlines())


@pytest.mark.parametrize(
    ("exit_code", "log", "loss"),
    [
        (1, REPORT.format(root=-9, other=1), "rank 1 was ended by SIGKILL"),
        (1, REPORT.format(root=-11, other=-15), "rank 1 was ended by SIGSEGV"),
        (137, "", "the process that runs the ranks, or a rank, was ended by SIGKILL"),
        (1, "rank 3 was lost with its Ray worker: the node died", "rank 3 was lost with its node or its Ray worker"),
    ],
)
def test_what_was_killed_is_named(exit_code: int, log: str, loss: str) -> None:
    assert how_it_was_lost(failure(exit_code, log)) == loss


@pytest.mark.parametrize(
    ("exit_code", "log"),
    [
        (1, ""),
        # Rank 1 failed; torchrun then killed rank 0, which did not end in time.
        (1, REPORT.format(root=1, other=-9)),
        # Somebody asked it to stop.
        (1, REPORT.format(root=-15, other=1)),
        (143, ""),
    ],
)
def test_a_run_that_failed_or_was_asked_to_stop_is_not_lost(exit_code: int, log: str) -> None:
    assert how_it_was_lost(failure(exit_code, log)) is None
