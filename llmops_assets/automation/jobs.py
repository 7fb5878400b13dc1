"""The jobs of a lane: what a person or the automation launches as one run."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition as AssetJob

from llmops_assets.assets.distillation import lessons_name
from llmops_assets.assets.distillation_reports import NAME as DISTILLATION_REPORT
from llmops_assets.assets.lineage import asset_key
from llmops_assets.assets.release import promoting_stages
from llmops_assets.recipe import MADE_BY_MODEL, Recipe

JOB_TAG = "llmops/job"


def build_job(recipe: Recipe) -> AssetJob:
    """Return `<recipe>_build`: everything from the sources to v1.0, its reports and the champion."""
    sections = ("eval_sets", "corpus", *MADE_BY_MODEL.values(), "sft_set", "thumbs_set")
    sets = [name for name in sections if getattr(recipe, name) is not None]
    stages = [f"{stage}_{part}" for stage in recipe.stages if stage != "dpo" for part in ("rows", "adapter", "report")]
    teacher = [lessons_name(recipe.kd), DISTILLATION_REPORT] if recipe.kd is not None else []
    champion = ["champion"] if promoting_stages(recipe) else []
    return _job(recipe, "build", [*sets, *stages, *teacher, *champion])


def dpo_job(recipe: Recipe) -> AssetJob:
    """Return `<recipe>_dpo`: votes to preference set and its report, reference, adapter, report and champion."""
    data = ["preference_set", "preference_report", "dpo_rows", "reference_log_probs"]
    return _job(recipe, "dpo", [*data, "dpo_adapter", "dpo_report", "champion"])


def dpo_job_name(recipe: Recipe) -> str:
    """Name of the job that sensor and schedule start."""
    return f"{recipe.name}_dpo"


def _job(recipe: Recipe, suffix: str, assets: list[str]) -> AssetJob:
    name = f"{recipe.name}_{suffix}"
    selection = dg.AssetSelection.assets(*(asset_key(recipe.name, asset) for asset in assets))
    return dg.define_asset_job(
        name, selection=selection, description=f"{recipe.description} ({suffix})", tags={JOB_TAG: name}
    )
