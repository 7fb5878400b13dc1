"""Sensor ticks and schedule ticks against a real instance and a real vote store."""

import dagster as dg

from llmops_assets.assets.preference_sets import THROUGH_TAG
from llmops_assets.automation.schedules import MONDAY_03_00, weekly_dpo_schedule
from llmops_assets.automation.sensors import enough_preferences_sensor
from llmops_assets_tests.automation.conftest import Lane


def sensor_tick(lane: Lane, cursor: str | None = None) -> dg.SensorResult:
    assert lane.recipe.preferences is not None
    sensor = enough_preferences_sensor(lane.recipe, lane.recipe.preferences, lane.job)
    context = dg.build_sensor_context(instance=lane.instance, resources={"feedback": lane.feedback}, cursor=cursor)
    result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def schedule_tick(lane: Lane) -> dg.RunRequest | dg.SkipReason:
    assert lane.recipe.preferences is not None
    schedule = weekly_dpo_schedule(lane.recipe, lane.recipe.preferences, lane.job)
    with dg.build_schedule_context(instance=lane.instance, resources={"feedback": lane.feedback}) as context:
        result = schedule(context)
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def skip_sentence(result: dg.SensorResult) -> str:
    assert not result.run_requests
    assert result.skip_reason is not None
    return result.skip_reason.skip_message or ""


def request(result: dg.SensorResult) -> dg.RunRequest:
    assert result.run_requests is not None, result.skip_reason
    [only] = result.run_requests
    return only


def test_both_are_running_by_default(lane: Lane) -> None:
    assert lane.recipe.preferences is not None
    sensor = enough_preferences_sensor(lane.recipe, lane.recipe.preferences, lane.job)
    schedule = weekly_dpo_schedule(lane.recipe, lane.recipe.preferences, lane.job)
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.cron_schedule == MONDAY_03_00


def test_before_v1_0_there_is_nothing_to_continue(lane: Lane) -> None:
    lane.vote(9)
    assert "no SFT adapter" in skip_sentence(sensor_tick(lane))


def test_the_sensor_counts_down_to_its_minimum_and_then_starts_one_run(lane: Lane) -> None:
    lane.materialize("sft_adapter")
    lane.vote(4)
    assert skip_sentence(sensor_tick(lane)) == "4 of 5 new preferences; 1 to go."
    lane.vote(1)
    started = request(sensor_tick(lane))
    assert started.tags[THROUGH_TAG] == "5"
    assert started.run_key == "preferences-0-5-try1"


def test_votes_that_cannot_be_trained_on_do_not_count(lane: Lane) -> None:
    lane.materialize("sft_adapter")
    lane.vote(4)
    lane.vote(3, verdict="tie")
    lane.vote(3, verdict="both_bad")
    assert skip_sentence(sensor_tick(lane)) == "4 of 5 new preferences; 1 to go."


def test_votes_that_were_trained_on_are_not_new(lane: Lane) -> None:
    lane.materialize("sft_adapter")
    lane.vote(5)
    lane.trained_through(5)
    assert skip_sentence(sensor_tick(lane)) == "0 of 5 new preferences; 5 to go."
    lane.vote(5)
    assert request(sensor_tick(lane)).run_key == "preferences-5-10-try1"


def test_nothing_starts_beside_a_run_in_flight(lane: Lane) -> None:
    lane.materialize("sft_adapter")
    lane.vote(6)
    run_id = lane.run(dg.DagsterRunStatus.STARTED, through=6)
    assert run_id[:8] in skip_sentence(sensor_tick(lane))
    assert isinstance(schedule_tick(lane), dg.SkipReason)


def test_a_failed_run_consumes_no_vote_and_is_retried_with_a_fresh_run_key(lane: Lane) -> None:
    lane.materialize("sft_adapter")
    lane.vote(5)
    lane.run(dg.DagsterRunStatus.FAILURE, through=5)
    assert request(sensor_tick(lane)).run_key == "preferences-0-5-try2"


def test_retries_are_bounded_until_enough_further_votes_come_in(lane: Lane) -> None:
    lane.materialize("sft_adapter")
    lane.vote(5)
    for _ in range(2):
        lane.run(dg.DagsterRunStatus.FAILURE, through=5)
    assert "2 of 2 attempts failed" in skip_sentence(sensor_tick(lane))
    lane.vote(4)
    assert "collect 1 more preferences" in skip_sentence(sensor_tick(lane))
    lane.vote(1)
    assert request(sensor_tick(lane)).run_key == "preferences-0-10-try1"


def test_the_schedule_has_a_minimum_of_its_own(lane: Lane) -> None:
    lane.materialize("sft_adapter")
    lane.vote(1)
    skipped = schedule_tick(lane)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "1 of 2 new preferences; 1 to go."
    lane.vote(1)
    started = schedule_tick(lane)
    assert isinstance(started, dg.RunRequest)
    assert started.run_key == "preferences-0-2-try1"


def test_new_votes_are_observed_once(lane: Lane) -> None:
    lane.materialize("sft_adapter")
    lane.vote(2)
    first = sensor_tick(lane)
    [observation] = first.asset_events
    assert observation.asset_key == dg.AssetKey(["python_docs", "preference_votes"])
    assert not sensor_tick(lane, cursor=first.cursor).asset_events
