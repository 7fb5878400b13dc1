"""The decision table of the DPO trigger."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llmops_assets.automation.dpo_trigger import (
    Attempt,
    Skip,
    StartRun,
    TriggerPolicy,
    TriggerState,
    decide_dpo_run,
)

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
POLICY = TriggerPolicy(minimum=100, cooldown=timedelta(minutes=60), max_attempts=2)


def failure(through: int = 150, minutes_ago: int = 300) -> Attempt:
    return Attempt("abcdef012345", through, NOW - timedelta(minutes=minutes_ago))


def state(**changes: Any) -> TriggerState:
    facts: dict[str, Any] = {
        "watermark": 50,
        "through_seq": 150,
        "new_usable": 100,
        "new_since_failure": 0,
        "runs_in_flight": (),
        "failed_attempts": (),
        "last_run_ended_at": None,
        "parent_ready": True,
    }
    return TriggerState(**(facts | changes))


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"new_usable": 52}, "52 of 100 new preferences; 48 to go."),
        ({"new_usable": 0}, "0 of 100 new preferences; 100 to go."),
        ({"parent_ready": False}, "no SFT adapter"),
        ({"runs_in_flight": ("0123456789ab",)}, "DPO run 01234567 is under way; 100 new preferences wait."),
        ({"failed_attempts": (failure(), failure())}, "2 of 2 attempts failed on the votes up to 150"),
        ({"failed_attempts": (failure(), failure()), "new_since_failure": 99}, "collect 1 more preferences"),
        ({"last_run_ended_at": NOW - timedelta(minutes=59)}, "the cool-down of 60 minutes ends at 12:01 UTC"),
    ],
)
def test_a_tick_that_starts_nothing_says_why_with_the_numbers(facts: dict, sentence: str) -> None:
    decision = decide_dpo_run(state(**facts), POLICY, now=NOW)
    assert isinstance(decision, Skip)
    assert sentence in decision.reason


@pytest.mark.parametrize(
    ("facts", "attempt"),
    [
        ({}, 1),
        ({"new_usable": 5000}, 1),
        ({"failed_attempts": (failure(),)}, 2),
        ({"failed_attempts": (failure(), failure()), "new_since_failure": 100}, 1),
        ({"last_run_ended_at": NOW - timedelta(minutes=60)}, 1),
    ],
)
def test_enough_new_preferences_start_a_run(facts: dict, attempt: int) -> None:
    decision = decide_dpo_run(state(**facts), POLICY, now=NOW)
    assert isinstance(decision, StartRun)
    assert decision.run_key == f"preferences-50-150-try{attempt}"
    assert decision.through_seq == 150


def test_a_failed_attempt_is_retried_with_a_fresh_run_key() -> None:
    first = decide_dpo_run(state(), POLICY, now=NOW)
    second = decide_dpo_run(state(failed_attempts=(failure(),)), POLICY, now=NOW)
    assert isinstance(first, StartRun)
    assert isinstance(second, StartRun)
    assert first.run_key != second.run_key
