"""The corpus asset: documents in, a filtered, deduplicated, chunked CPT corpus with a held-out split out."""

import json

import dagster as dg

from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.launchpad import launchpad_config, resolved
from llmops_assets.assets.lineage import asset_key, materialized, readable_errors
from llmops_assets.assets.previews import counts_table, example_rows, histogram_table
from llmops_assets.assets.sources import SOURCE_FACTS, SourcesAtHand, source_keys
from llmops_assets.data.corpus import build_corpus
from llmops_assets.data.specs import CorpusSpec, DataSetSummary
from llmops_assets.recipe import CorpusSection, Recipe
from llmops_assets.resources.artifacts import ArtifactStore, BuildSlot
from llmops_assets.settings import configs_dir
from llmops_assets.training.digests import file_sha256

CODE_VERSION = "1"


def corpus_asset(recipe: Recipe, section: CorpusSection) -> dg.AssetsDefinition:
    """Return the `<recipe>/corpus` asset."""
    config_class = launchpad_config(section, leave_out=frozenset({"sources"}))

    @dg.asset(
        key=asset_key(recipe.name, "corpus"),
        deps=source_keys(recipe, "corpus"),
        group_name=recipe.name,
        kinds={"python", "json"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
    )
    def corpus(
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's section
        artifacts: ArtifactStore,
    ) -> dg.MaterializeResult:
        """Text for continued pre-training: normalized, filtered, deduplicated (exact and near), cut into chunks
        by tokens. Whole documents are held out by hash for perplexity; what was rejected is in quarantine with
        source, line and reason."""
        with readable_errors():
            spec = resolved(section, config)
            base_dir = configs_dir() / "recipes"
            tokenizer_file = recipe.base_model.tokenizer_file()
            at_hand = SourcesAtHand.look_up(spec.sources, base_dir)
            request = BuildRequest(
                recipe=recipe.name,
                asset="corpus",
                spec=spec,
                inputs={**at_hand.hashes, "tokenizer": file_sha256(tokenizer_file)},
                code_version=CODE_VERSION,
            )

            def build(slot: BuildSlot) -> Built:
                settings = CorpusSpec.model_validate(spec.model_dump(exclude={"sources"}))
                summary = build_corpus(at_hand.sources, settings, tokenizer_file, slot.output, base_dir)
                return Built(summary=summary.model_dump(mode="json") | at_hand.summary())

            artifact, reused = build_once(artifacts, request, build)
        return materialized(
            artifact,
            reused=reused,
            metadata=data_set_metadata(artifact.manifest.summary)
            | at_hand.metadata(kept_records(artifact.manifest.summary))
            | {
                "examples": example_rows(artifact.folder / "train.jsonl", lambda row: row["text"][:600]),
            },
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
        "sources": dg.MetadataValue.md("```json\n" + json.dumps(summary.sources, indent=2) + "\n```"),
        **({"formats": dg.MetadataValue.json(dict(summary.formats))} if summary.formats else {}),
        "licenses": dg.MetadataValue.json(dict(summary.licenses)),
        "token_histogram": histogram_table(summary.token_histogram),
    }


def kept_records(summary_json: dict) -> dict[str, int]:
    """Return how many records of each source a data set has kept."""
    return {name: counts["kept"] for name, counts in summary_json["sources"].items()}
