"""The corpus asset: documents in, a filtered, deduplicated, chunked CPT corpus with a held-out split out."""

import dagster as dg

from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.eval_sets import current_eval_sets, eval_sets_deps, eval_sets_input, items_file
from llmops_assets.assets.launchpad import launchpad_config, resolved
from llmops_assets.assets.lineage import asset_key, materialized, readable_errors
from llmops_assets.assets.previews import counts_table, example_rows, histogram_table
from llmops_assets.assets.set_pages import card_input, length_tables, set_page, sources_table
from llmops_assets.assets.sources import SOURCE_FACTS, facts_metadata, facts_summary, source_keys
from llmops_assets.data.sets.card_facts import summarized_facts
from llmops_assets.data.sets.cards import write_card
from llmops_assets.data.sets.data_set import DataSetSummary
from llmops_assets.data.sources.sources_at_hand import SourcesAtHand
from llmops_assets.data.specs import CorpusSpec
from llmops_assets.recipe import CorpusSection, Recipe
from llmops_assets.resources.artifacts import ArtifactStore, BuildSlot
from llmops_assets.resources.data_workers import DataWorkers
from llmops_assets.settings import configs_dir
from llmops_assets.training.digests import file_sha256

CODE_VERSION = "5"


def corpus_asset(recipe: Recipe, section: CorpusSection) -> dg.AssetsDefinition:
    """Return the `<recipe>/corpus` asset."""
    config_class = launchpad_config(section, leave_out=frozenset({"sources"}))

    @dg.asset(
        key=asset_key(recipe.name, "corpus"),
        deps=[*source_keys(recipe, "corpus"), *eval_sets_deps(recipe)],
        group_name=recipe.name,
        kinds={"python", "json"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
    )
    def corpus(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's section
        artifacts: ArtifactStore,
        data_workers: DataWorkers,
    ) -> dg.MaterializeResult:
        """Text for continued pre-training: normalized, filtered, deduplicated (exact and near), balanced, cut into
        chunks by tokens. Whole documents are held out by hash for perplexity, those that are alike together; what was
        rejected is in quarantine with source, line and reason."""
        with readable_errors():
            spec = resolved(section, config)
            base_dir = configs_dir() / "recipes"
            tokenizer_file = recipe.base_model.tokenizer_file()
            at_hand = SourcesAtHand.look_up(spec.sources, base_dir)
            eval_sets = current_eval_sets(context.instance, artifacts, recipe)
            request = BuildRequest(
                recipe=recipe.name,
                asset="corpus",
                spec=spec,
                inputs={
                    **at_hand.inputs,
                    **eval_sets_input(eval_sets),
                    "tokenizer": file_sha256(tokenizer_file),
                    **card_input(recipe),
                },
                code_version=CODE_VERSION,
            )

            def build(slot: BuildSlot) -> Built:
                # numpy is for those who build, not for the code location, which imports this module.
                from llmops_assets.data.corpus.building import build_corpus

                items = items_file(eval_sets)
                settings = CorpusSpec.model_validate(spec.model_dump(exclude={"sources"}))
                summary = build_corpus(
                    at_hand.sources, settings, tokenizer_file, slot.output, base_dir, items, data_workers.open()
                )
                facts = summarized_facts(recipe.name, "corpus", settings, at_hand, summary)
                write_card(slot.output, facts, recipe.card)
                return Built(summary=summary.model_dump(mode="json") | facts_summary(at_hand))

            artifact, reused = build_once(artifacts, request, build)
            page = set_page(context.instance, artifacts, artifact)
        return materialized(
            artifact,
            reused=reused,
            metadata=data_set_metadata(artifact.manifest.summary)
            | facts_metadata(at_hand, kept_records(artifact.manifest.summary))
            | {
                "examples": example_rows(artifact.folder / "train.jsonl", lambda row: row["text"][:600]),
            }
            | page,
        )

    return corpus


def data_set_metadata(summary_json: dict) -> dict[str, dg.MetadataValue]:
    """Return what every data set shows: rows, counts by outcome and reason, sources, licences, token histogram."""
    summary = DataSetSummary.model_validate({k: v for k, v in summary_json.items() if k != SOURCE_FACTS})
    return {
        "dagster/row_count": dg.MetadataValue.int(summary.counts.get("train", 0)),
        "rows/heldout": dg.MetadataValue.int(summary.counts.get("heldout", 0)),
        "tokens/train": dg.MetadataValue.int(summary.tokens.get("train", 0)),
        "tokens/heldout": dg.MetadataValue.int(summary.tokens.get("heldout", 0)),
        "quarantined": dg.MetadataValue.int(sum(summary.quarantined.values())),
        "counts": counts_table(summary.counts),
        "quarantine_reasons": counts_table(summary.quarantined),
        **({"masked": counts_table(summary.masked)} if summary.masked else {}),
        **({"languages": counts_table(summary.languages)} if summary.languages else {}),
        "sources": sources_table(summary),
        **length_tables(summary),
        **({"formats": dg.MetadataValue.json(dict(summary.formats))} if summary.formats else {}),
        **({"generators": counts_table(summary.generators)} if summary.generators else {}),
        "licenses": dg.MetadataValue.json(dict(summary.licenses)),
        "token_histogram": histogram_table(summary.token_histogram),
    }


def kept_records(summary_json: dict) -> dict[str, int]:
    """Return how many records of each source a data set has kept."""
    return {name: counts["kept"] for name, counts in summary_json["sources"].items()}
