"""Sets that a model writes, as assets: generated once, with what they cost and what was rejected on their page."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.distillation import GPU_POOL, teacher_ref
from llmops_assets.assets.launchpad import launchpad_config, resolved
from llmops_assets.assets.lineage import asset_key, latest_artifact, materialized, readable_errors
from llmops_assets.assets.previews import as_json, counts_table, example_rows, histogram_table
from llmops_assets.assets.sources import facts_metadata, facts_summary, source_keys
from llmops_assets.data.generation.generated_set import ROWS_FILE, GeneratedSetSummary
from llmops_assets.data.generation.specs import GenerationSpec, GroundedSpec, InstructionsSpec, LocalSpec
from llmops_assets.data.sources.sources_at_hand import SourcesAtHand
from llmops_assets.evaluation.data_generation import RESULT_FILE, DataGenerationJob, GroundedTask, SelfInstructTask
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.resources.trainer import Trainer
from llmops_assets.settings import configs_dir, generation_cache
from llmops_assets.training.digests import file_sha256
from llmops_assets.training.distillation.specs import TeacherSpec

CODE_VERSION = "3"
INSTRUCTIONS, GROUNDED_PAIRS = "instructions", "grounded_pairs"
# Nested sections, which the launchpad cannot edit.
_OF_THE_RECIPE = frozenset(
    {
        *("generator", "seeds", "keyword_rules", "instruction_sampling", "instance_sampling"),
        *("question_sampling", "answer_sampling"),
    }
)


def generated_assets(recipe: Recipe) -> list[dg.AssetsDefinition]:
    """Return the assets of a lane whose rows a model writes."""
    found: list[dg.AssetsDefinition] = []
    if recipe.instructions is not None:
        found.append(instructions_asset(recipe, recipe.instructions))
    if recipe.grounded_pairs is not None:
        found.append(grounded_pairs_asset(recipe, recipe.grounded_pairs))
    return found


def instructions_asset(recipe: Recipe, section: InstructionsSpec) -> dg.AssetsDefinition:
    """Return the `<recipe>/instructions` asset."""
    config_class = launchpad_config(section, leave_out=_OF_THE_RECIPE)

    @dg.asset(
        key=asset_key(recipe.name, INSTRUCTIONS),
        deps=source_keys(recipe, INSTRUCTIONS),
        group_name=recipe.name,
        kinds=_kinds(section),
        owners=recipe.owners,
        code_version=CODE_VERSION,
        pool=_pool(section),
    )
    def instructions(
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's section
        artifacts: ArtifactStore,
        trainer: Trainer,
    ) -> dg.MaterializeResult:
        """Tasks with their solutions that a model wrote from seed tasks, by Self-Instruct. What was too similar, cut or
        empty is in quarantine with the reason. Responses are cached: to materialize again costs no request."""
        with readable_errors():
            spec = resolved(section, config)
            recipe_dir = configs_dir() / "recipes"
            at_hand = SourcesAtHand.look_up([spec.seeds], recipe_dir)
            [seeds] = at_hand.sources
            task = SelfInstructTask(spec=spec.model_copy(update={"seeds": seeds}), recipe_dir=recipe_dir)
            artifact, reused = _generated(
                recipe, INSTRUCTIONS, spec, task, at_hand.inputs, artifacts, trainer, facts_summary(at_hand)
            )
        used = {seeds.name: artifact.manifest.summary["summary"]["counts"]["seeds"]}
        metadata = _metadata(artifact) | facts_metadata(at_hand, used)
        return materialized(artifact, reused=reused, metadata=metadata)

    return instructions


def grounded_pairs_asset(recipe: Recipe, section: GroundedSpec) -> dg.AssetsDefinition:
    """Return the `<recipe>/grounded_pairs` asset."""
    config_class = launchpad_config(section, leave_out=_OF_THE_RECIPE)

    @dg.asset(
        key=asset_key(recipe.name, GROUNDED_PAIRS),
        deps=[asset_key(recipe.name, "corpus")],
        group_name=recipe.name,
        kinds=_kinds(section),
        owners=recipe.owners,
        code_version=CODE_VERSION,
        pool=_pool(section),
    )
    def grounded_pairs(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's section
        artifacts: ArtifactStore,
        trainer: Trainer,
    ) -> dg.MaterializeResult:
        """Questions and answers that a model wrote about chunks of the corpus. Kept are answers that consist of spans
        of their chunk, if the model also says that the chunk answers the question; rows name document and offsets."""
        with readable_errors():
            corpus = latest_artifact(context.instance, artifacts, recipe.name, "corpus")
            tokenizer_file = recipe.base_model.tokenizer_file()
            inputs = {"corpus": corpus.manifest.data_version, "tokenizer": file_sha256(tokenizer_file)}
            spec = resolved(section, config)
            task = GroundedTask(spec=spec, corpus_dir=corpus.folder, tokenizer_file=tokenizer_file)
            artifact, reused = _generated(recipe, GROUNDED_PAIRS, spec, task, inputs, artifacts, trainer)
        return materialized(artifact, reused=reused, metadata=_metadata(artifact))

    return grounded_pairs


def _generated(
    recipe: Recipe,
    asset: str,
    spec: GenerationSpec,
    task: SelfInstructTask | GroundedTask,
    inputs: dict[str, str],
    artifacts: ArtifactStore,
    trainer: Trainer,
    known: Mapping[str, Any] | None = None,
) -> tuple[Artifact, bool]:
    """Return the set of `task`, made by `spec`, and whether it was there; `known` goes into its summary."""
    generator = spec.generator
    model = None
    if isinstance(generator, LocalSpec):
        names = generator.model_dump(include={"name", "revision", "adapter", "precision", "quantization"})
        model = teacher_ref(TeacherSpec(**names), section=f"{asset}.generator")
        inputs = {**inputs, "generator": model.digest}
    request = BuildRequest(
        recipe=recipe.name,
        asset=asset,
        spec=spec,
        inputs=inputs,
        code_version=CODE_VERSION,
        # Timeouts and how many requests are under way at once change no answer.
        equivalent={"generator": generator.identity() | {"label": generator.label}},
    )

    def build(slot: BuildSlot) -> Built:
        job = DataGenerationJob(
            task=task,
            model=model,
            cache_dir=generation_cache(),
            output_dir=slot.output,
            result_file=slot.scratch / RESULT_FILE,
        )
        result = trainer.generate_data(job, folder=slot.scratch, on_line=print)
        return Built(summary=result.model_dump(mode="json") | dict(known or {}))

    return build_once(artifacts, request, build)


def _kinds(section: GenerationSpec) -> set[str]:
    return {"pytorch", "json"} if isinstance(section.generator, LocalSpec) else {"openai", "json"}


def _pool(section: GenerationSpec) -> str | None:
    return GPU_POOL if isinstance(section.generator, LocalSpec) else None


def _metadata(artifact: Artifact) -> dict[str, dg.MetadataValue | Any]:
    result = artifact.manifest.summary
    summary = GeneratedSetSummary.model_validate(result["summary"])
    rows = artifact.folder / ROWS_FILE
    metadata = {
        "dagster/row_count": summary.counts["rows"],
        "stopped": summary.stopped,
        "counts": counts_table(summary.counts),
        "rejected": counts_table(summary.rejected),
        "generators": counts_table(summary.generators),
        "licenses": dg.MetadataValue.json(summary.licenses),
        "spent": counts_table(summary.spent),
        "requests/sent": result["sent"],
        "requests/from_cache": result["from_cache"],
        "requests/retries": result["retries"],
        "first_words": counts_table(summary.first_words),
        "first_words/distinct_share": summary.distinct_first_words,
        "examples": example_rows(rows, lambda row: as_json(row["messages"]), count=10),
    }
    if summary.rouge_bands:
        metadata["rouge_to_nearest_seed"] = histogram_table(summary.rouge_bands)
    return metadata
