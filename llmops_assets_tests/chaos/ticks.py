"""One tick of the lane's sensor and one of its schedule, evaluated at the same moment, as two daemons' threads would.

`python -m llmops_assets_tests.chaos.ticks WORKSPACE` ticks the instance of DAGSTER_HOME. The schedule gets the next
Monday 03:00 UTC after the newest tick that it has had.
"""

import logging
import sys
import threading
from datetime import UTC, datetime, timedelta

import dagster._daemon  # noqa: F401 - the scheduler cannot be imported before it
from dagster import DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.sensor import execute_sensor_iteration, is_under_min_interval
from dagster._scheduler.scheduler import launch_scheduled_runs

from llmops_assets_tests.chaos.waiting import wait_for

logger = logging.getLogger(__name__)


def tick_both(workspace: str) -> None:
    """Evaluate and submit both ticks; returns when both are recorded."""
    with (
        DagsterInstance.get() as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([workspace])) as context,
    ):
        moment = _next_monday(instance)
        # A schedule that no daemon has seen starts its history at its first evaluation, which runs nothing.
        list(launch_scheduled_runs(context, logger, datetime.now(UTC), iteration_times={}))
        wait_for(lambda: _sensor_is_due(context, instance), "the end of the sensor's minimum interval")
        start = threading.Barrier(2)

        def tick_sensor() -> None:
            start.wait()
            list(execute_sensor_iteration(context, logger, None, None))

        def tick_schedule() -> None:
            start.wait()
            list(launch_scheduled_runs(context, logger, moment, iteration_times={}))

        threads = [threading.Thread(target=tick) for tick in (tick_sensor, tick_schedule)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _next_monday(instance: DagsterInstance) -> datetime:
    """One second past 03:00 UTC of the first Monday after now and after every schedule tick so far."""
    latest = datetime.now(UTC)
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE):
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1):
            latest = max(latest, datetime.fromtimestamp(tick.timestamp, UTC))
    monday = latest.replace(hour=3, minute=0, second=1, microsecond=0)
    while monday <= latest + timedelta(seconds=1) or monday.weekday() != 0:
        monday += timedelta(days=1)
    return monday


def _sensor_is_due(context: WorkspaceProcessContext, instance: DagsterInstance) -> bool:
    states = {
        state.selector_id: state for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    }
    request = context.create_request_context()
    sensors = [
        sensor
        for location in request.code_locations
        for repository in location.get_repositories().values()
        for sensor in repository.get_sensors()
    ]
    return all(
        sensor.selector_id not in states or not is_under_min_interval(states[sensor.selector_id], sensor)
        for sensor in sensors
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    tick_both(sys.argv[1])
