"""The lane's table: base -> CPT -> SFT v1.0 -> DPO v1.1, from the newest reports."""

import dagster as dg

from llmops_assets.assets.champion_state import current_champion
from llmops_assets.assets.eval_reports import read_report
from llmops_assets.assets.lineage import find_latest_artifact
from llmops_assets.evaluation.presentation import chain_table
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import ArtifactStore


def lane_table(instance: dg.DagsterInstance, store: ArtifactStore, recipe: Recipe) -> str:
    """Return the table of all stages that have a report, as plain text, and the champion."""
    found = [find_latest_artifact(instance, store, recipe.name, f"{stage}_report") for stage in recipe.stages]
    champion = current_champion(instance, store, recipe.name)
    reports = [read_report(artifact) for artifact in found if artifact is not None]
    if not reports:
        return f"{recipe.name}: no report yet; launch the job {recipe.name}_build"
    return chain_table(reports, champion_sha256=champion.adapter_sha256 if champion is not None else None)
