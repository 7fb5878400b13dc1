"""The adapter assets: each stage continues one LoRA over one base, trained in a process of its own."""

from typing import Any

import dagster as dg

from llmops_assets.assets.adapter_training import AdapterRequest, train_adapter
from llmops_assets.assets.distillation import TEACHER_LOGITS, current_teacher_logits, learns_from_logits
from llmops_assets.assets.launchpad import launchpad_config, resolved
from llmops_assets.assets.licensing import license_metadata, licenses_behind
from llmops_assets.assets.lineage import asset_key, latest_artifact, latest_metadata, readable_errors
from llmops_assets.assets.parents import dpo_parent
from llmops_assets.assets.prepared_rows import rows_name
from llmops_assets.assets.reference_log_probs import NAME as REFERENCE_LOG_PROBS
from llmops_assets.assets.reference_log_probs import current_reference, reference_policy
from llmops_assets.errors import LlmopsError
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore
from llmops_assets.resources.feedback import FeedbackResource
from llmops_assets.resources.tracking import Tracking
from llmops_assets.resources.trainer import Trainer
from llmops_assets.training.preparation.job import PreparationSpec
from llmops_assets.training.specs import AnyStageSpec, DpoSpec

CODE_VERSION = "2"
GPU_POOL = "gpu"
WATERMARK = "preferences/through_seq"
_KINDS = {"pytorch", "huggingface", "mlflow", "deepspeed"}
_DESCRIPTIONS = {
    "cpt": "LoRA adapter after continued pre-training on the corpus: it knows the domain's text, not yet how to answer."
    " Packed rows, no token lost; held-out documents are never read.",
    "sft": "LoRA adapter after supervised fine-tuning, continuing the CPT adapter: it answers, and it stops. Loss is "
    "on assistant tokens alone, the end of the turn included. Every new one starts a major version (v1.0).",
    "kd": "LoRA adapter of a student that has learned from its teacher: from the distributions in teacher_logits, or "
    "from answers that the teacher wrote. It continues the adapter before it.",
    "kto": "LoRA adapter after Kahneman-Tversky optimization on thumbs up and down. It continues the adapter before "
    "it, a frozen copy of which is its reference policy.",
    "dpo": "LoRA adapter after direct preference optimization on people's votes. It continues the champion of its SFT "
    "line; reference_log_probs says what its reference policy is. Every new one is a minor version (v1.1, v1.2).",
}


class RowsNotPacked(LlmopsError):
    """`batching: packed` for rows that were prepared one by one."""


def adapter_asset(recipe: Recipe, stage: AnyStageSpec) -> dg.AssetsDefinition:
    """Return the `<recipe>/<stage>_adapter` asset. What decides a row is set on the stage's rows asset."""
    name, rows = f"{stage.stage}_adapter", rows_name(stage.stage)
    parent_name = recipe.parent_of(stage.stage)
    config_class = launchpad_config(stage, leave_out=_decided_elsewhere(stage))
    needs = [rows, *([parent_name] if parent_name else []), *_computed_assets(stage)]

    @dg.asset(
        key=asset_key(recipe.name, name),
        deps=[asset_key(recipe.name, needed) for needed in needs],
        group_name=recipe.name,
        kinds=_KINDS,
        owners=recipe.owners,
        code_version=CODE_VERSION,
        pool=GPU_POOL,
        description=_DESCRIPTIONS[stage.stage],
    )
    def adapter(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's stage
        artifacts: ArtifactStore,
        trainer: Trainer,
        tracking: Tracking,
        feedback: FeedbackResource,
    ) -> dg.MaterializeResult:
        with readable_errors():
            request = adapter_request(context.instance, recipe, resolved(stage, config), artifacts, feedback)
            behind = [made.manifest for made in (request.rows, request.parent) if made is not None]
            licenses = licenses_behind(context.instance, artifacts, behind)
            return train_adapter(
                context,
                request,
                artifacts=artifacts,
                trainer=trainer,
                tracking=tracking,
                feedback=feedback if stage.stage != "cpt" else None,
                metadata=license_metadata(licenses)
                | (_watermark(context.instance, recipe) if stage.stage == "dpo" else {}),
            )

    return adapter


def adapter_request(
    instance: dg.DagsterInstance,
    recipe: Recipe,
    spec: AnyStageSpec,
    artifacts: ArtifactStore,
    feedback: FeedbackResource,
) -> AdapterRequest:
    """Return everything that determines the adapter of the stage `spec`: today's rows, parent and reference.

    Raises NotMaterialized, RowsNotPacked, UnknownAnchor and StaleReference.
    """
    rows = latest_artifact(instance, artifacts, recipe.name, rows_name(spec.stage))
    spec = on_rows(spec, rows)
    computed: dict[str, Artifact] = {}
    if isinstance(spec, DpoSpec):
        parent: Artifact | None = dpo_parent(instance, artifacts, recipe, rows.manifest.inputs["preference_set"])
        with feedback.open() as store:
            wanted = reference_policy(artifacts, store, parent, spec.reference)
        computed[REFERENCE_LOG_PROBS] = current_reference(instance, artifacts, recipe, rows, wanted, spec)
    else:
        parent_name = recipe.parent_of(spec.stage)
        parent = latest_artifact(instance, artifacts, recipe.name, parent_name) if parent_name else None
    if learns_from_logits(spec):
        recording = current_teacher_logits(instance, artifacts, recipe, rows)
        computed[TEACHER_LOGITS] = recording
        spec = spec.model_copy(update={"top_k": recording.manifest.spec["top_k"]})
    return AdapterRequest(
        recipe=recipe,
        asset=f"{spec.stage}_adapter",
        spec=spec,
        rows=rows,
        computed=computed,
        parent=parent,
        code_version=CODE_VERSION,
    )


def on_rows(spec: AnyStageSpec, rows: Artifact) -> AnyStageSpec:
    """Return `spec` with what its rows have decided, so that the run card tells what was trained on.

    Raises RowsNotPacked: single rows under `batching: packed` would train as padding_free.
    """
    prepared = PreparationSpec.model_validate(rows.manifest.spec)
    if PreparationSpec.of(spec).packed and not prepared.packed:
        raise RowsNotPacked(
            f"{rows.manifest.recipe}/{rows.manifest.asset}: one conversation a row, but the adapter is asked for with "
            f"batching: packed; set that in the recipe's {spec.stage} section and materialize {rows.manifest.asset} "
            "again, or choose padding_free for the adapter"
        )
    decided = prepared.applied_to(spec)
    return type(spec).model_validate(spec.model_dump() | decided)


def _computed_assets(stage: AnyStageSpec) -> list[str]:
    """Return the assets that are computed for the rows of a stage before it trains."""
    if stage.stage == "dpo":
        return [REFERENCE_LOG_PROBS]
    return [TEACHER_LOGITS] if learns_from_logits(stage) else []


def _decided_elsewhere(stage: AnyStageSpec) -> frozenset[str]:
    rows = PreparationSpec.of(stage).applied_to(stage)
    return frozenset({"stage", *rows, *({"dpo": ("reference",), "kd": ("method", "top_k")}.get(stage.stage, ()))})


def _watermark(instance: dg.DagsterInstance, recipe: Recipe) -> dict[str, Any]:
    return {WATERMARK: (latest_metadata(instance, recipe.name, "preference_set") or {})[WATERMARK]}
