"""One pure decision for sensor and schedule alike: should a DPO run start now, and if not, why not."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Attempt:
    """A DPO run that was started on votes newer than the watermark and did not end well."""

    run_id: str
    through_seq: int
    ended_at: datetime


@dataclass(frozen=True)
class TriggerState:
    """The facts that the decision reads; all of them come from the vote store and Dagster's run records.

    `watermark` is the newest vote of the preference set behind the last materialized DPO report (0: none yet), so a
    run that fails before its adapter is trained and judged consumes nothing. `new_usable` counts usable pairs after
    it, `new_since_failure` those after the newest failed attempt.
    """

    watermark: int
    through_seq: int
    new_usable: int
    new_since_failure: int
    runs_in_flight: tuple[str, ...]
    failed_attempts: tuple[Attempt, ...]
    last_run_ended_at: datetime | None
    parent_ready: bool


@dataclass(frozen=True)
class TriggerPolicy:
    """When to start: enough new pairs, a pause between runs, a bound on attempts with the same votes."""

    minimum: int
    cooldown: timedelta
    max_attempts: int


@dataclass(frozen=True)
class StartRun:
    """Start a run on the votes up to `through_seq`; equal keys are one run."""

    run_key: str
    through_seq: int
    reason: str


@dataclass(frozen=True)
class Skip:
    """Start nothing; `reason` is a sentence with the numbers."""

    reason: str


def decide_dpo_run(state: TriggerState, policy: TriggerPolicy, *, now: datetime) -> StartRun | Skip:
    """Decide whether a DPO run starts now.

    After `max_attempts` failures the trigger waits until another `minimum` of pairs has come in since the last
    failure; then the count starts again.
    """
    if not state.parent_ready:
        return Skip("There is no SFT adapter to continue yet; materialize sft_adapter first.")
    if state.runs_in_flight:
        return Skip(f"DPO run {state.runs_in_flight[0][:8]} is under way; {state.new_usable} new preferences wait.")
    if state.new_usable < policy.minimum:
        missing = policy.minimum - state.new_usable
        return Skip(f"{state.new_usable} of {policy.minimum} new preferences; {missing} to go.")
    failures = [] if state.new_since_failure >= policy.minimum else list(state.failed_attempts)
    if len(failures) >= policy.max_attempts:
        missing = policy.minimum - state.new_since_failure
        return Skip(
            f"{len(failures)} of {policy.max_attempts} attempts failed on the votes up to {state.through_seq} "
            f"(last: run {failures[-1].run_id[:8]}); mend the cause and launch the job by hand, "
            f"or collect {missing} more preferences."
        )
    if state.last_run_ended_at is not None and now < state.last_run_ended_at + policy.cooldown:
        ready = state.last_run_ended_at + policy.cooldown
        return Skip(
            f"{state.new_usable} new preferences, but the last DPO run ended at {state.last_run_ended_at:%H:%M} UTC; "
            f"the cool-down of {policy.cooldown.total_seconds() / 60:.0f} minutes ends at {ready:%H:%M} UTC."
        )
    attempt = len(failures) + 1
    return StartRun(
        run_key=f"preferences-{state.watermark}-{state.through_seq}-try{attempt}",
        through_seq=state.through_seq,
        reason=f"{state.new_usable} new preferences of {policy.minimum} needed; attempt {attempt}.",
    )
