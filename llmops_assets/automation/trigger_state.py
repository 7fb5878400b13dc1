"""Collects the facts that the DPO decision reads: votes from the store, runs and watermarks from Dagster."""

from datetime import UTC, datetime

import dagster as dg

from llmops_assets.assets.adapters import WATERMARK
from llmops_assets.assets.lineage import latest_metadata
from llmops_assets.assets.preference_sets import THROUGH_TAG
from llmops_assets.automation.dpo_trigger import Attempt, TriggerState
from llmops_assets.automation.jobs import dpo_job_name
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets.recipe import Recipe

WATERMARK_TAG = "llmops/preferences_after"
_IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_RUNS_READ = 50


def read_trigger_state(instance: dg.DagsterInstance, store: FeedbackStore, recipe: Recipe) -> TriggerState:
    """Return today's facts. Cost does not grow with the number of votes or runs: indexed counts, newest runs only."""
    trained = latest_metadata(instance, recipe.name, "dpo_report")
    watermark = int(trained[WATERMARK]) if trained is not None else 0
    records = instance.get_run_records(dg.RunsFilter(job_name=dpo_job_name(recipe)), limit=_RUNS_READ)
    failed = [r for r in records if _failed_on(r, watermark)]
    counts = store.count_usable(recipe.name, after_seq=watermark)
    attempts = sorted((_attempt(r) for r in failed), key=lambda attempt: attempt.ended_at)
    since = store.count_usable(recipe.name, after_seq=attempts[-1].through_seq).new_usable if attempts else 0
    ended = [r.end_time for r in records if r.end_time is not None]
    return TriggerState(
        watermark=watermark,
        through_seq=counts.through_seq,
        new_usable=counts.new_usable,
        new_since_failure=since,
        runs_in_flight=tuple(r.dagster_run.run_id for r in records if r.dagster_run.status in _IN_FLIGHT),
        failed_attempts=tuple(attempts),
        last_run_ended_at=datetime.fromtimestamp(max(ended), UTC) if ended else None,
        parent_ready=latest_metadata(instance, recipe.name, recipe.parent_of("dpo") or "sft_adapter") is not None,
    )


def _failed_on(record: dg.RunRecord, watermark: int) -> bool:
    run = record.dagster_run
    return run.status == dg.DagsterRunStatus.FAILURE and run.tags.get(WATERMARK_TAG) == str(watermark)


def _attempt(record: dg.RunRecord) -> Attempt:
    run = record.dagster_run
    ended = record.end_time if record.end_time is not None else record.update_timestamp.timestamp()
    return Attempt(run.run_id, int(run.tags[THROUGH_TAG]), datetime.fromtimestamp(ended, UTC))
