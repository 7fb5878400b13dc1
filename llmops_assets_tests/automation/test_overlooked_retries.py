"""A lost run whose retry Dagster overlooked is reported once more, and the retry comes; others are left alone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG
from dagster._core.test_utils import create_run_for_test, instance_for_test

from llmops_assets.automation.overlooked_retries import overlooked_retries, overlooked_retries_sensor
from llmops_assets.definitions import defs

LATER = timedelta(minutes=2)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    retries = {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": False}
    with instance_for_test(overrides={"run_retries": retries}) as instance:
        yield instance


def lost_run(instance: dg.DagsterInstance, reason: RunFailureReason) -> dg.DagsterRun:
    run = create_run_for_test(instance, job_name="python_docs_build", status=dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(run, "gone", JobFailureData(error=None, failure_reason=reason))
    return run


def ids(instance: dg.DagsterInstance, after: timedelta) -> list[str]:
    return [run.run_id for run in overlooked_retries(instance, now=datetime.now(UTC) + after)]


def test_a_lost_run_without_a_retry_is_found_when_the_retry_is_late(instance: dg.DagsterInstance) -> None:
    run = lost_run(instance, RunFailureReason.UNEXPECTED_TERMINATION)
    assert ids(instance, timedelta(0)) == []
    assert ids(instance, LATER) == [run.run_id]
    assert ids(instance, timedelta(days=1)) == []


def test_what_is_not_to_be_retried_is_left_alone(instance: dg.DagsterInstance) -> None:
    lost_run(instance, RunFailureReason.STEP_FAILURE)
    assert ids(instance, LATER) == []


def test_a_run_that_was_retried_is_left_alone(instance: dg.DagsterInstance) -> None:
    tagged = lost_run(instance, RunFailureReason.UNEXPECTED_TERMINATION)
    instance.add_run_tags(tagged.run_id, {AUTO_RETRY_RUN_ID_TAG: "another"})
    parent = lost_run(instance, RunFailureReason.UNEXPECTED_TERMINATION)
    family = {PARENT_RUN_ID_TAG: parent.run_id, ROOT_RUN_ID_TAG: parent.run_id}
    create_run_for_test(
        instance,
        job_name="python_docs_build",
        parent_run_id=parent.run_id,
        root_run_id=parent.run_id,
        tags=family,
    )
    assert ids(instance, LATER) == []


def test_the_sensor_reports_it_to_dagster_again_and_gives_up_after_three_reports(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lost_run(instance, RunFailureReason.UNEXPECTED_TERMINATION)
    monkeypatch.setattr("llmops_assets.automation.overlooked_retries._OVERLOOKED_AFTER", timedelta(0))
    for reports in (2, 3, 3):
        overlooked_retries_sensor(dg.build_sensor_context(instance=instance))
        assert len(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)) == reports
    reloaded = instance.get_run_by_id(run.run_id)
    assert reloaded is not None
    assert reloaded.status == dg.DagsterRunStatus.FAILURE


def test_it_is_on_by_default() -> None:
    assert defs.get_sensor_def("overlooked_retries").default_status == dg.DefaultSensorStatus.RUNNING
