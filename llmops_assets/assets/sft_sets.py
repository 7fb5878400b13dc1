"""The SFT set asset: conversations with a train and an eval split that share no API and no document."""

import dagster as dg

from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.corpora import data_set_metadata, kept_records
from llmops_assets.assets.eval_sets import current_eval_sets, eval_sets_deps, eval_sets_input, items_file
from llmops_assets.assets.launchpad import launchpad_config, resolved
from llmops_assets.assets.lineage import asset_key, latest_artifact, materialized, readable_errors
from llmops_assets.assets.previews import as_json, example_rows
from llmops_assets.assets.set_pages import card_input, set_page
from llmops_assets.assets.sources import facts_metadata, facts_summary, source_keys
from llmops_assets.data.sets.card_facts import summarized_facts
from llmops_assets.data.sets.cards import write_card
from llmops_assets.data.sets.sft_set import build_sft_set
from llmops_assets.data.sources.sources_at_hand import SourcesAtHand
from llmops_assets.data.sources.specs import ExtractedSource
from llmops_assets.data.specs import SftSetSpec
from llmops_assets.recipe import MADE_BY_MODEL, Recipe, SftSection
from llmops_assets.resources.artifacts import ArtifactStore, BuildSlot
from llmops_assets.settings import configs_dir
from llmops_assets.training.digests import file_sha256

CODE_VERSION = "6"


def sft_set_asset(recipe: Recipe, section: SftSection) -> dg.AssetsDefinition:
    """Return the `<recipe>/sft_set` asset; it depends on the corpus when pairs are extracted from it, and on what a
    model writes for it."""
    extracts = any(isinstance(source, ExtractedSource) for source in section.sources)
    made = {kind: asset for kind, asset in MADE_BY_MODEL.items() if kind in recipe.sft_kinds}
    config_class = launchpad_config(section, leave_out=frozenset({"sources"}))

    @dg.asset(
        key=asset_key(recipe.name, "sft_set"),
        deps=[
            *(asset_key(recipe.name, parent) for parent in [*(["corpus"] if extracts else []), *made.values()]),
            *source_keys(recipe, "sft_set"),
            *eval_sets_deps(recipe),
        ],
        group_name=recipe.name,
        kinds={"python", "json"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
    )
    def sft_set(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's section
        artifacts: ArtifactStore,
    ) -> dg.MaterializeResult:
        """Conversations for supervised fine-tuning, as `messages`. Extracted answers are verbatim spans of the
        corpus and are labelled `extractive`, those of a model have its name; eval asks only about APIs that neither CPT
        nor SFT has seen."""
        with readable_errors():
            spec = resolved(section, config)
            base_dir = configs_dir() / "recipes"
            tokenizer_file = recipe.base_model.tokenizer_file()
            corpus = latest_artifact(context.instance, artifacts, recipe.name, "corpus") if extracts else None
            at_hand = SourcesAtHand.look_up(spec.sources, base_dir)
            eval_sets = current_eval_sets(context.instance, artifacts, recipe)
            sets = {
                kind: latest_artifact(context.instance, artifacts, recipe.name, asset) for kind, asset in made.items()
            }
            inputs = at_hand.inputs
            inputs |= {made[kind]: artifact.manifest.data_version for kind, artifact in sets.items()}
            if corpus is not None:
                inputs["corpus"] = corpus.manifest.data_version
            request = BuildRequest(
                recipe=recipe.name,
                asset="sft_set",
                spec=spec,
                inputs={
                    **inputs,
                    **eval_sets_input(eval_sets),
                    "tokenizer": file_sha256(tokenizer_file),
                    "chat_template": recipe.base_model.template_digest(),
                    **card_input(recipe),
                },
                code_version=CODE_VERSION,
            )

            def build(slot: BuildSlot) -> Built:
                settings = SftSetSpec.model_validate(spec.model_dump(exclude={"sources"}))
                corpus_dir, items = corpus.folder if corpus else None, items_file(eval_sets)
                summary = build_sft_set(
                    at_hand.sources,
                    settings,
                    corpus_dir,
                    tokenizer_file,
                    slot.output,
                    base_dir,
                    {kind: artifact.folder for kind, artifact in sets.items()},
                    items,
                )
                facts = summarized_facts(recipe.name, "sft_set", settings, at_hand, summary)
                write_card(slot.output, facts, recipe.card)
                return Built(summary=summary.model_dump(mode="json") | facts_summary(at_hand))

            artifact, reused = build_once(artifacts, request, build)
            page = set_page(context.instance, artifacts, artifact)
            examples = example_rows(artifact.folder / "train.jsonl", lambda row: as_json(row["messages"]))
        summary = artifact.manifest.summary
        metadata = (
            data_set_metadata(summary) | facts_metadata(at_hand, kept_records(summary)) | {"examples": examples} | page
        )
        return materialized(artifact, reused=reused, metadata=metadata)

    return sft_set
