"""The sensors of a lane: a DPO run when enough preferences are there, a sweep's table when points were trained."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from llmops_assets.assets.lineage import asset_key
from llmops_assets.automation.dpo_trigger import Skip, StartRun, TriggerPolicy, decide_dpo_run
from llmops_assets.automation.jobs import AssetJob
from llmops_assets.automation.requests import run_request
from llmops_assets.automation.trigger_state import read_trigger_state
from llmops_assets.feedback.specs import PreferenceSpec
from llmops_assets.recipe import Recipe
from llmops_assets.resources.feedback import FeedbackResource

INTERVAL_SECONDS = 15


def enough_preferences_sensor(recipe: Recipe, section: PreferenceSpec, job: AssetJob) -> dg.SensorDefinition:
    """Return the sensor `<recipe>_enough_preferences`, running by default.

    Its cursor only remembers the newest vote that was observed; what has been consumed is read from the last
    materialized DPO adapter at every tick.
    """
    policy = TriggerPolicy(section.minimum, timedelta(minutes=section.cooldown_minutes), section.max_attempts)

    @dg.sensor(
        name=f"{recipe.name}_enough_preferences",
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts {job.name} when {section.minimum} new usable preferences have accumulated.",
    )
    def enough_preferences(context: dg.SensorEvaluationContext, feedback: FeedbackResource) -> dg.SensorResult:
        with feedback.open() as store:
            state = read_trigger_state(context.instance, store, recipe)
        decision = decide_dpo_run(state, policy, now=datetime.now(UTC))
        return dg.SensorResult(
            run_requests=[run_request(decision, state.watermark)] if isinstance(decision, StartRun) else [],
            skip_reason=decision.reason if isinstance(decision, Skip) else None,
            cursor=str(state.through_seq),
            asset_events=_observation(recipe, state.through_seq, state.new_usable, context.cursor),
        )

    return enough_preferences


def _observation(recipe: Recipe, through_seq: int, new_usable: int, cursor: str | None) -> list[dg.AssetObservation]:
    """Record new votes on the external asset, once per newest vote, so that the graph shows the set as stale."""
    if str(through_seq) == cursor:
        return []
    return [
        dg.AssetObservation(
            asset_key=asset_key(recipe.name, "preference_votes"),
            metadata={"votes/through_seq": through_seq, "votes/new_usable_pairs": new_usable},
            tags={"dagster/data_version": str(through_seq)},
        )
    ]


def sweep_tables_sensor(recipe: Recipe) -> dg.AutomationConditionSensorDefinition:
    """Return the sensor `<recipe>_sweep_tables`, running by default: it makes the tables of sweeps anew.

    Dagster's own sensor for automation conditions is stopped until somebody starts it.
    """
    tables = [asset_key(recipe.name, f"{name}_sweep") for name in recipe.sweeps]
    return dg.AutomationConditionSensorDefinition(
        f"{recipe.name}_sweep_tables",
        target=dg.AssetSelection.assets(*tables),
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
