"""The rows assets: what a stage trains on, rendered, tokenized, split and packed before any GPU is taken."""

import dagster as dg

from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.distillation import TEACHER_ANSWERS
from llmops_assets.assets.launchpad import launchpad_config, resolved
from llmops_assets.assets.lineage import asset_key, latest_artifact, materialized, readable_errors
from llmops_assets.assets.previews import counts_table
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.resources.trainer import Trainer
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.preparation.job import PreparationJob, PreparationSpec
from llmops_assets.training.specs import AnyStageSpec, KdSpec

CODE_VERSION = "2"
_SET_OF_STAGE = {"cpt": "corpus", "sft": "sft_set", "kd": "sft_set", "kto": "thumbs_set", "dpo": "preference_set"}
# Blocking checks of these stop what is made from the set; nothing is read from them.
_GATES = {"preference_set": ("preference_report",)}
_FIXED = frozenset({"stage", "packed"})
_DESCRIPTIONS = {
    "cpt": "Documents as packed token rows, no token lost, ready to train on. The CPT process only trains.",
    "sft": "Conversations as token rows with the loss on what the assistant writes, its end-of-turn token included. "
    "An answer is never cut: rows beyond max_length are handled by long_rows and counted here.",
    "kd": "The conversations that the student learns from its teacher on, as token rows with loss on the answers.",
    "kto": "Single answers with a thumb each, as token ids. Answers beyond max_length are counted, never cut.",
    "dpo": "Preference pairs as token ids: the prompt once, both answers whole. Pairs beyond max_length are counted.",
}


def rows_name(stage: str) -> str:
    """Return the name of the rows asset of a stage."""
    return f"{stage}_rows"


def set_name(stage: AnyStageSpec) -> str:
    """Return the set asset that the rows of `stage` are made from."""
    imitates = isinstance(stage, KdSpec) and stage.method == "sequence"
    return TEACHER_ANSWERS if imitates else _SET_OF_STAGE[stage.stage]


def rows_asset(recipe: Recipe, stage: AnyStageSpec) -> dg.AssetsDefinition:
    """Return the `<recipe>/<stage>_rows` asset. Its settings are those of the stage that decide what a row is."""
    settings = PreparationSpec.of(stage)
    config_class = launchpad_config(settings, leave_out=_FIXED)
    source_name = set_name(stage)
    name = rows_name(stage.stage)

    @dg.asset(
        key=asset_key(recipe.name, name),
        deps=[asset_key(recipe.name, each) for each in (source_name, *_GATES.get(source_name, ()))],
        group_name=recipe.name,
        kinds={"python", "huggingface"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
        description=_DESCRIPTIONS[stage.stage],
    )
    def rows(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's stage
        artifacts: ArtifactStore,
        trainer: Trainer,
    ) -> dg.MaterializeResult:
        with readable_errors():
            source = latest_artifact(context.instance, artifacts, recipe.name, source_name)
            base = recipe.base_model.resolve()
            request = _request(recipe, name, resolved(settings, config), source)
            artifact, reused = build_once(artifacts, request, _builder(request, source, base, trainer))
        summary = artifact.manifest.summary
        return materialized(
            artifact,
            reused=reused,
            metadata={
                "dagster/row_count": summary["train_rows"],
                "counts": counts_table(summary),
                "examples": dg.MetadataValue.md((artifact.folder / "preview.md").read_text()),
            },
        )

    return rows


def _request(recipe: Recipe, name: str, spec: PreparationSpec, source: Artifact) -> BuildRequest:
    return BuildRequest(
        recipe=recipe.name,
        asset=name,
        spec=spec,
        inputs={
            "tokenizer": recipe.base_model.tokenizer_digest(),
            "chat_template": recipe.base_model.template_digest(),
            source.manifest.asset: source.manifest.data_version,
        },
        code_version=CODE_VERSION,
    )


def _builder(request: BuildRequest, source: Artifact, base: BaseModelRef, trainer: Trainer):
    def build(slot: BuildSlot) -> Built:
        assert isinstance(request.spec, PreparationSpec)
        job = PreparationJob(
            asset=f"{request.recipe}/{request.asset}",
            spec=request.spec,
            base_model=base,
            set_file=source.folder / "train.jsonl",
            output_dir=slot.output,
        )
        return Built(summary=dict(trainer.prepare(job, folder=slot.scratch, on_line=print)))

    return build
