"""What Dagster loads: every recipe is one lane of assets, checks, jobs, a sensor and a schedule. Nothing is hidden."""

import dagster as dg

from llmops_assets.assets.adapters import adapter_asset
from llmops_assets.assets.checks import (
    licenses_permitted_check,
    no_eval_leak_check,
    no_train_eval_overlap_check,
    sealed_prompts_check,
    usual_size_check,
    votes_of_one_kind_check,
)
from llmops_assets.assets.corpora import corpus_asset
from llmops_assets.assets.distillation import teacher_asset
from llmops_assets.assets.distillation_reports import distillation_report_asset
from llmops_assets.assets.eval_reports import report_asset
from llmops_assets.assets.eval_sets import eval_sets_asset
from llmops_assets.assets.generated_sets import generated_assets
from llmops_assets.assets.licensing import licensed_assets
from llmops_assets.assets.preference_reports import preference_report_asset
from llmops_assets.assets.preference_sets import preference_set_asset, preference_votes_asset
from llmops_assets.assets.prepared_rows import rows_asset
from llmops_assets.assets.reference_log_probs import reference_log_probs_asset
from llmops_assets.assets.release import champion_asset, promoting_stages
from llmops_assets.assets.sft_sets import sft_set_asset
from llmops_assets.assets.sources import source_assets
from llmops_assets.assets.sweeps import sweep_assets
from llmops_assets.assets.thumbs_sets import thumbs_set_asset
from llmops_assets.assets.training_sets import training_sets
from llmops_assets.automation.jobs import build_job, dpo_job
from llmops_assets.automation.overlooked_retries import overlooked_retries_sensor
from llmops_assets.automation.schedules import weekly_dpo_schedule
from llmops_assets.automation.sensors import enough_preferences_sensor, sweep_tables_sensor
from llmops_assets.automation.sweep_launch import sweep_job
from llmops_assets.recipe import Recipe, load_recipes
from llmops_assets.resources.defaults import default_resources
from llmops_assets.resources.ignored_interrupts import redeliver_ignored_interrupts
from llmops_assets.settings import configs_dir


def lane(recipe: Recipe) -> dg.Definitions:
    """Return the definitions of one recipe; a stage that the recipe leaves out has no asset."""
    assets: list[dg.AssetsDefinition | dg.SourceAsset] = [*source_assets(recipe)]
    checks: list[dg.AssetChecksDefinition] = []
    jobs = [build_job(recipe)]
    sensors: list[dg.SensorDefinition] = []
    schedules: list[dg.ScheduleDefinition] = []
    if recipe.corpus is not None:
        assets.append(corpus_asset(recipe, recipe.corpus))
        checks += [no_train_eval_overlap_check(recipe, "corpus"), usual_size_check(recipe, "corpus")]
    assets += generated_assets(recipe)
    if recipe.sft_set is not None:
        assets.append(sft_set_asset(recipe, recipe.sft_set))
        checks += [no_train_eval_overlap_check(recipe, "sft_set"), usual_size_check(recipe, "sft_set")]
    if recipe.thumbs_set is not None:
        assets.append(thumbs_set_asset(recipe, recipe.thumbs_set))
    for name, stage in recipe.stages.items():
        assets += [rows_asset(recipe, stage), adapter_asset(recipe, stage), report_asset(recipe, name)]
    assets += sweep_assets(recipe)
    jobs += [sweep_job(recipe, name) for name in recipe.sweeps]
    if recipe.sweeps:
        sensors.append(sweep_tables_sensor(recipe))
    if promoting_stages(recipe):
        assets.append(champion_asset(recipe))
    if recipe.kd is not None:
        assets += [teacher_asset(recipe, recipe.kd), distillation_report_asset(recipe, recipe.kd)]
    if recipe.dpo is not None and recipe.preferences is not None:
        assets += [preference_votes_asset(recipe), preference_set_asset(recipe, recipe.preferences)]
        assets += [preference_report_asset(recipe, recipe.preferences), reference_log_probs_asset(recipe, recipe.dpo)]
        checks += [
            votes_of_one_kind_check(recipe),
            sealed_prompts_check(recipe),
            usual_size_check(recipe, "preference_set"),
        ]
        job = dpo_job(recipe)
        jobs.append(job)
        sensors.append(enough_preferences_sensor(recipe, recipe.preferences, job))
        schedules.append(weekly_dpo_schedule(recipe, recipe.preferences, job))
    if recipe.eval_sets is not None:
        assets.append(eval_sets_asset(recipe, recipe.eval_sets))
        checks += [no_eval_leak_check(recipe, name) for name in training_sets(recipe)]
    if recipe.licenses is not None:
        checks += [licenses_permitted_check(recipe, recipe.licenses, name) for name in licensed_assets(recipe)]
    return dg.Definitions(assets=assets, asset_checks=checks, jobs=jobs, sensors=sensors, schedules=schedules)


# Run workers load this module first, and must hear a request to stop whatever they are doing.
redeliver_ignored_interrupts()

# One process per run: training is a process of its own anyway, and a step process each would cost seconds.
defs = dg.Definitions.merge(
    *(lane(recipe) for recipe in load_recipes(configs_dir() / "recipes")),
    dg.Definitions(sensors=[overlooked_retries_sensor], resources=default_resources(), executor=dg.in_process_executor),
)
