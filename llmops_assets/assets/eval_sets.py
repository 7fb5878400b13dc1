"""The eval sets asset: what the lane is measured on, which no training set of the lane may hold."""

from pathlib import Path

import dagster as dg

from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.lineage import asset_key, latest_artifact, materialized, readable_errors
from llmops_assets.assets.previews import as_json, counts_table, example_rows
from llmops_assets.assets.sources import facts_metadata, facts_summary, source_keys
from llmops_assets.data.evals.eval_sets import ITEMS_FILE, EvalSetsSpec, build_eval_sets
from llmops_assets.data.sources.sources_at_hand import SourcesAtHand
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.settings import configs_dir

CODE_VERSION = "3"
NAME = "eval_sets"


def eval_sets_asset(recipe: Recipe, section: EvalSetsSpec) -> dg.AssetsDefinition:
    """Return the `<recipe>/eval_sets` asset."""

    @dg.asset(
        key=asset_key(recipe.name, NAME),
        deps=source_keys(recipe, NAME),
        group_name=recipe.name,
        kinds={"python", "json"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
    )
    def eval_sets(artifacts: ArtifactStore) -> dg.MaterializeResult:
        """What the lane is measured on, as typed items: questions with reference answers, code with its tests, texts
        for perplexity. Whatever a training set shares with them is taken out of the training set, never out of here."""
        with readable_errors():
            base_dir = configs_dir() / "recipes"
            at_hand = SourcesAtHand.look_up(section.sources, base_dir)
            request = BuildRequest(
                recipe=recipe.name,
                asset=NAME,
                spec=section,
                inputs=at_hand.inputs,
                code_version=CODE_VERSION,
            )

            def build(slot: BuildSlot) -> Built:
                held = section.model_copy(update={"sources": at_hand.sources})
                return Built(summary=build_eval_sets(held, slot.output, base_dir) | facts_summary(at_hand))

            artifact, reused = build_once(artifacts, request, build)
        summary = artifact.manifest.summary
        return materialized(
            artifact,
            reused=reused,
            metadata={
                "dagster/row_count": sum(summary["items"].values()),
                "items": counts_table(summary["items"]),
                "formats": dg.MetadataValue.json(summary["formats"]),
                "quarantined": counts_table(summary["quarantined"]),
                "licenses": dg.MetadataValue.json(summary["licenses"]),
                **facts_metadata(at_hand, summary["items"]),
                "examples": example_rows(artifact.folder / ITEMS_FILE, lambda row: as_json(row)[:600]),
            },
        )

    return eval_sets


def eval_sets_deps(recipe: Recipe) -> list[dg.AssetKey]:
    """Return what a training set of the lane depends on besides its sources: the eval sets, if the recipe has any."""
    return [asset_key(recipe.name, NAME)] if recipe.eval_sets is not None else []


def current_eval_sets(instance: dg.DagsterInstance, store: ArtifactStore, recipe: Recipe) -> Artifact | None:
    """Return the materialized eval sets of the lane; None if the recipe has none.

    Raises NotMaterialized, ArtifactMissing and CorruptArtifact.
    """
    return latest_artifact(instance, store, recipe.name, NAME) if recipe.eval_sets is not None else None


def eval_sets_input(eval_sets: Artifact | None) -> dict[str, str]:
    """Return the version of the eval sets as an input of a training set that was cleaned of them."""
    return {} if eval_sets is None else {NAME: eval_sets.manifest.data_version}


def items_file(eval_sets: Artifact | None) -> Path | None:
    """Return the items.jsonl of the eval sets."""
    return None if eval_sets is None else eval_sets.folder / ITEMS_FILE
