"""A sensor for lost runs whose retry Dagster overlooked; `make chaos` met one among its first twenty lost runs.

Dagster writes a run's failure event first and its status a moment later. Its event consumer may read the event in
between, finds a run that has not failed, and never looks at it again. Reporting the failure once more makes it look.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, RUN_FAILURE_REASON_TAG, WILL_RETRY_TAG

NAME = "overlooked_retries"
INTERVAL_SECONDS = 30
# Dagster's consumer looks every 5 s; a minute later it will not come by itself.
_OVERLOOKED_AFTER = timedelta(minutes=1)
# A failure that old was settled by people, or belongs to a time when nobody retried anything.
_FORGOTTEN_AFTER = timedelta(hours=6)
_MOST_REPORTS = 3


@dg.sensor(
    name=NAME,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports the failure of a lost run once more if its automatic retry did not come.",
)
def overlooked_retries_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Report again what Dagster overlooked; it starts no run itself, so a retry can never come twice."""
    runs = overlooked_retries(context.instance, now=datetime.now(UTC))
    for run in runs:
        reason = run.tags.get(RUN_FAILURE_REASON_TAG)
        context.instance.report_run_failed(
            run,
            "The automatic retry of this run did not come; its failure is reported once more.",
            JobFailureData(error=None, failure_reason=RunFailureReason(reason) if reason else None),
        )
    return dg.SkipReason(f"{len(runs)} lost runs waited in vain for their retry.")


def overlooked_retries(instance: dg.DagsterInstance, *, now: datetime) -> list[dg.DagsterRun]:
    """Return failed runs that Dagster said it would retry, and has not; at most three reports are made of one run."""
    records = instance.get_run_records(
        dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.FAILURE],
            tags={WILL_RETRY_TAG: "true"},
            updated_after=now - _FORGOTTEN_AFTER,
            updated_before=now - _OVERLOOKED_AFTER,
        )
    )
    return [record.dagster_run for record in records if _was_overlooked(instance, record.dagster_run)]


def _was_overlooked(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    if AUTO_RETRY_RUN_ID_TAG in run.tags:
        return False
    group = instance.get_run_group(run.run_id)
    if group is not None and any(other.parent_run_id == run.run_id for other in group[1]):
        return False
    return len(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)) < _MOST_REPORTS
