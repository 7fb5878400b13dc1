"""The weekly schedule: train on whatever came in, if it is worth a run."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from llmops_assets.automation.dpo_trigger import Skip, TriggerPolicy, decide_dpo_run
from llmops_assets.automation.jobs import AssetJob
from llmops_assets.automation.requests import run_request
from llmops_assets.automation.trigger_state import read_trigger_state
from llmops_assets.feedback.specs import PreferenceSpec
from llmops_assets.recipe import Recipe
from llmops_assets.resources.feedback import FeedbackResource

MONDAY_03_00 = "0 3 * * 1"


def weekly_dpo_schedule(recipe: Recipe, section: PreferenceSpec, job: AssetJob) -> dg.ScheduleDefinition:
    """Return the schedule `<recipe>_weekly_dpo`, running by default, with a minimum of its own."""
    policy = TriggerPolicy(section.weekly_minimum, timedelta(minutes=section.cooldown_minutes), section.max_attempts)

    @dg.schedule(
        name=f"{recipe.name}_weekly_dpo",
        job=job,
        cron_schedule=MONDAY_03_00,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Mondays 03:00 UTC: starts {job.name} when at least {section.weekly_minimum} preferences are new.",
    )
    def weekly_dpo(context: dg.ScheduleEvaluationContext, feedback: FeedbackResource) -> dg.RunRequest | dg.SkipReason:
        with feedback.open() as store:
            state = read_trigger_state(context.instance, store, recipe)
        decision = decide_dpo_run(state, policy, now=datetime.now(UTC))
        return dg.SkipReason(decision.reason) if isinstance(decision, Skip) else run_request(decision, state.watermark)

    return weekly_dpo
