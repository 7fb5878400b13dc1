"""Votes as an observable external asset, and the preference set: a snapshot of the usable pairs among them."""

import hashlib

import dagster as dg

from llmops_assets.assets.adapters import WATERMARK
from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.eval_sets import current_eval_sets, eval_sets_deps, eval_sets_input, items_file
from llmops_assets.assets.launchpad import launchpad_config, part_of, resolved
from llmops_assets.assets.lineage import asset_key, materialized, readable_errors
from llmops_assets.assets.preference_set_files import admitted_votes, read_data_sets, write_preference_set
from llmops_assets.assets.previews import as_json, counts_table, example_rows
from llmops_assets.assets.set_pages import card_input, set_page
from llmops_assets.assets.sources import facts_metadata, facts_summary, source_keys
from llmops_assets.data.records import row_hash
from llmops_assets.data.sets.card_facts import preference_facts
from llmops_assets.data.sets.cards import write_card
from llmops_assets.data.sets.preference_pairs import (
    PairSourcesSpec,
)
from llmops_assets.data.sources.sources_at_hand import SourcesAtHand
from llmops_assets.feedback.admission import admitted_pairs
from llmops_assets.feedback.records import PairSelection
from llmops_assets.feedback.specs import PreferenceSetSpec
from llmops_assets.recipe import PreferencesSection, Recipe
from llmops_assets.resources.artifacts import ArtifactStore, BuildSlot
from llmops_assets.resources.feedback import FeedbackResource
from llmops_assets.settings import configs_dir
from llmops_assets.training.digests import file_sha256

CODE_VERSION = "5"
THROUGH_TAG = "llmops/preferences_through"


def preference_votes_asset(recipe: Recipe) -> dg.SourceAsset:
    """Return the observable external asset `<recipe>/preference_votes`."""

    @dg.observable_source_asset(
        key=asset_key(recipe.name, "preference_votes"),
        group_name=recipe.name,
        description="Votes of people (or, in the demo, of a rater labelled `simulated`) between two answers. "
        "They live in the feedback store; observing this asset records how many there are.",
    )
    def preference_votes(feedback: FeedbackResource) -> dg.ObserveResult:
        with readable_errors(), feedback.open() as store:
            counts = store.count_usable(recipe.name, after_seq=0)
        return dg.ObserveResult(
            data_version=dg.DataVersion(str(counts.through_seq)),
            metadata={"votes/usable_pairs": counts.new_usable, "votes/through_seq": counts.through_seq},
        )

    return preference_votes


def preference_set_asset(recipe: Recipe, section: PreferencesSection) -> dg.AssetsDefinition:
    """Return the `<recipe>/preference_set` asset: usable votes, and the pairs of data sets that the recipe names."""
    settings = part_of(section, PreferenceSetSpec)
    config_class = launchpad_config(settings)

    @dg.asset(
        key=asset_key(recipe.name, "preference_set"),
        deps=[
            asset_key(recipe.name, "preference_votes"),
            *source_keys(recipe, "preference_set"),
            *eval_sets_deps(recipe),
        ],
        group_name=recipe.name,
        kinds={"python", "json"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
    )
    def preference_set(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's section
        artifacts: ArtifactStore,
        feedback: FeedbackResource,
    ) -> dg.MaterializeResult:
        """Chosen and rejected answers from the votes that can be trained on: decisive, not contradicted, no
        duplicates, no names that give a side away, within a rater's share; and the pairs of data sets that the recipe
        names. A share of the prompts, drawn by hash, is sealed for the gate and never trained on. Every other vote is
        in quarantine.jsonl with its reason."""
        with readable_errors():
            spec = resolved(settings, config)
            sets, base_dir = section.data_sets, configs_dir() / "recipes"
            at_hand = SourcesAtHand.look_up(sets.sources if sets else [], base_dir)
            eval_sets = current_eval_sets(context.instance, artifacts, recipe)
            through = context.run.tags.get(THROUGH_TAG)
            with feedback.open() as store:
                base_model, through_seq = recipe.base_model.name, int(through) if through else None
                selection = admitted_pairs(store, recipe.name, spec, base_model, through_seq=through_seq)
            request = BuildRequest(
                recipe=recipe.name,
                asset="preference_set",
                spec=spec,
                inputs={
                    "pairs": _pairs_version(selection),
                    "left_out": row_hash([vote.model_dump() for vote in selection.left_out]),
                    **_data_set_inputs(sets, at_hand, recipe),
                    **card_input(recipe),
                    **eval_sets_input(eval_sets),
                },
                code_version=CODE_VERSION,
            )

            def build(slot: BuildSlot) -> Built:
                held = None if sets is None else sets.model_copy(update={"sources": at_hand.sources})
                items = items_file(eval_sets)
                votes = admitted_votes(selection, spec, recipe.name, items)
                data_sets = None if held is None else read_data_sets(slot, held, votes, base_dir, recipe)
                limit = 0 if sets is None else sets.max_sealed
                kept = write_preference_set(slot, votes, data_sets, spec.sealed_share, limit, recipe.name, items)
                facts = preference_facts(recipe.name, spec, at_hand, kept)
                write_card(slot.output, facts, recipe.card)
                return Built(summary=kept | facts_summary(at_hand))

            artifact, reused = build_once(artifacts, request, build)
            page = set_page(context.instance, artifacts, artifact)
        summary = artifact.manifest.summary
        return materialized(
            artifact,
            reused=reused,
            metadata={
                WATERMARK: selection.through_seq,
                "dagster/row_count": summary["train"],
                "rows/heldout": summary["heldout"],
                "raters": counts_table(summary["rater_kinds"]),
                "contains_simulated_votes": summary["contains_simulated_votes"],
                "votes_left_out": counts_table(summary["votes_left_out"]),
                "quarantined": counts_table(summary.get("quarantined", {})),
                **({"data_sets": dg.MetadataValue.json(found)} if (found := summary.get("data_sets")) else {}),
                **facts_metadata(at_hand, found["pairs"] if found else {}),
                "examples": example_rows(artifact.folder / "heldout.jsonl", as_json),
                **page,
            },
        )

    return preference_set


def _pairs_version(selection: PairSelection) -> str:
    lines = [f"{pair.pair_id} {pair.vote_id} {pair.rater_kind}" for pair in selection.pairs]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _data_set_inputs(sets: PairSourcesSpec | None, at_hand: SourcesAtHand, recipe: Recipe) -> dict[str, str]:
    if sets is None:
        return {}
    return {
        "data_sets": row_hash(sets.model_dump(mode="json")),
        "tokenizer": file_sha256(recipe.base_model.tokenizer_file()),
        **at_hand.inputs,
    }
