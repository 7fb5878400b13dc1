"""The thumbs set asset: single answers with a thumb up or down, which KTO learns from."""

import dagster as dg

from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.eval_sets import current_eval_sets, eval_sets_deps, eval_sets_input, items_file
from llmops_assets.assets.lineage import asset_key, materialized, readable_errors
from llmops_assets.assets.previews import counts_table
from llmops_assets.assets.set_pages import card_input, set_page
from llmops_assets.assets.sources import facts_metadata, facts_summary, source_keys
from llmops_assets.data.sets.card_facts import thumbs_facts
from llmops_assets.data.sets.cards import write_card
from llmops_assets.data.sets.thumbs_set import ThumbsSetSpec, build_thumbs_set
from llmops_assets.data.sources.sources_at_hand import SourcesAtHand
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import ArtifactStore, BuildSlot
from llmops_assets.settings import configs_dir
from llmops_assets.training.digests import file_sha256

CODE_VERSION = "6"


def thumbs_set_asset(recipe: Recipe, section: ThumbsSetSpec) -> dg.AssetsDefinition:
    """Return the `<recipe>/thumbs_set` asset."""

    @dg.asset(
        key=asset_key(recipe.name, "thumbs_set"),
        deps=[*source_keys(recipe, "thumbs_set"), *eval_sets_deps(recipe)],
        group_name=recipe.name,
        kinds={"python", "json"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
    )
    def thumbs_set(context: dg.AssetExecutionContext, artifacts: ArtifactStore) -> dg.MaterializeResult:
        """Answers that people approved of, or did not, one by one. Records that cannot be used are in quarantine.jsonl
        with file, line and reason; a set with thumbs of one kind alone is refused."""
        with readable_errors():
            base_dir = configs_dir() / "recipes"
            tokenizer_file = recipe.base_model.tokenizer_file()
            at_hand = SourcesAtHand.look_up(section.sources, base_dir)
            eval_sets = current_eval_sets(context.instance, artifacts, recipe)
            request = BuildRequest(
                recipe=recipe.name,
                asset="thumbs_set",
                spec=section,
                inputs={
                    **at_hand.inputs,
                    **eval_sets_input(eval_sets),
                    "tokenizer": file_sha256(tokenizer_file),
                    **card_input(recipe),
                },
                code_version=CODE_VERSION,
            )

            def build(slot: BuildSlot) -> Built:
                held, items = section.model_copy(update={"sources": at_hand.sources}), items_file(eval_sets)
                summary = build_thumbs_set(held, tokenizer_file, slot.output, base_dir, items)
                write_card(slot.output, thumbs_facts(recipe.name, section, at_hand, summary), recipe.card)
                return Built(summary=summary | facts_summary(at_hand))

            artifact, reused = build_once(artifacts, request, build)
            page = set_page(context.instance, artifacts, artifact)
        summary = artifact.manifest.summary
        return materialized(
            artifact,
            reused=reused,
            metadata={
                "dagster/row_count": summary["train"],
                "thumbs": counts_table({"up": summary["up"], "down": summary["down"]}),
                "quarantined": counts_table(summary["quarantined"]),
                **facts_metadata(at_hand, {name: counts["kept"] for name, counts in summary["sources"].items()}),
                **page,
            },
        )

    return thumbs_set
