"""What all adapter assets do: find or train the adapter of a request, track it, name it, describe it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from llmops_assets.assets.adapter_chain import adapter_ref, adapter_sha256, stack_card
from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.lineage import materialized
from llmops_assets.assets.previews import inline_png
from llmops_assets.assets.progress import ProgressReporter, metrics_rows
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.resources.feedback import FeedbackResource
from llmops_assets.resources.lost_rank import RankLost
from llmops_assets.resources.tracking import Tracking
from llmops_assets.resources.trainer import Trainer
from llmops_assets.settings import configs_dir
from llmops_assets.training.digests import file_sha256
from llmops_assets.training.identity import RUNTIME_ONLY, on_one_rank
from llmops_assets.training.job import BaseModelRef, TrainingJob
from llmops_assets.training.loss_curve import loss_curve_png
from llmops_assets.training.specs import AnyStageSpec
from llmops_assets.training.steps import total_steps

# A killed rank is bad luck once; twice it is a machine that is too small.
RETRIES_OF_A_LOST_RANK = 1


@dataclass(frozen=True)
class AdapterRequest:
    """Everything that determines an adapter.

    Attributes:
        rows: The prepared rows of the stage.
        computed: What was computed for these rows beforehand, by the name of the field of TrainingJob that takes it.
    """

    recipe: Recipe
    asset: str
    spec: AnyStageSpec
    rows: Artifact
    computed: Mapping[str, Artifact]
    parent: Artifact | None
    code_version: str


def adapter_inputs(request: AdapterRequest, base: BaseModelRef) -> dict[str, str]:
    """Return the data version of everything that the adapter is made from, by name, as its manifest has them.

    The data set behind the rows is named too: lineage asks which sets an adapter has seen.
    """
    inputs = {"base_model": base.digest, **request.rows.manifest.inputs}
    for artifact in (request.rows, *request.computed.values()):
        inputs[artifact.manifest.asset] = artifact.manifest.data_version
    return inputs | ({"parent_adapter": adapter_sha256(request.parent)} if request.parent is not None else {})


def engine_inputs(spec: AnyStageSpec) -> dict[str, str]:
    """Return the sha256 of the DeepSpeed file of a ZeRO backend, by the name that it has in a manifest's inputs.

    Apart from `adapter_inputs`, which all points of a sweep share, for a backend may be swept.
    """
    file = _deepspeed_file(spec.backend)
    return {} if file is None else {"deepspeed_config": file_sha256(file)}


def train_adapter(
    context: dg.AssetExecutionContext,
    request: AdapterRequest,
    *,
    artifacts: ArtifactStore,
    trainer: Trainer,
    tracking: Tracking,
    feedback: FeedbackResource | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dg.MaterializeResult:
    """Return the materialization of the requested adapter, trained now unless the store already has it.

    With `feedback`, the adapter gets (or keeps) its version label there, so that votes can name it.

    Raises:
        RetryRequested: a rank was killed; the step runs once more and resumes from the last checkpoint.
        RankLost: that happened again.
        SupervisedProcessFailed: training failed; checkpoints stay, and the next attempt resumes from the last one.
        ArtifactMissing, CorruptArtifact: an input cannot be used.
    """
    base = request.recipe.base_model.resolve()
    build_request = BuildRequest(
        recipe=request.recipe.name,
        asset=request.asset,
        spec=request.spec,
        inputs=adapter_inputs(request, base) | engine_inputs(request.spec),
        code_version=request.code_version,
        runtime_only=RUNTIME_ONLY,
        equivalent=on_one_rank(request.spec),
    )

    def build(slot: BuildSlot) -> Built:
        return _train(context, request, base, build_request, slot, artifacts, trainer, tracking)

    try:
        artifact, reused = build_once(artifacts, build_request, build)
    except RankLost as error:
        if context.retry_number >= RETRIES_OF_A_LOST_RANK:
            raise
        context.log.warning(f"{error} This run does so now.")
        raise dg.RetryRequested(max_retries=RETRIES_OF_A_LOST_RANK) from error
    if not reused:
        run_id = (artifact.manifest.run_card or {}).get("mlflow_run_id")
        tracking.log_outcome(run_id, {}, [artifact.folder / "manifest.json"])
    label = _register(context, request, artifact, base, feedback) if feedback is not None else None
    return materialized(
        artifact, reused=reused, metadata=_adapter_metadata(artifact, label, tracking) | dict(metadata or {})
    )


def _train(
    context: dg.AssetExecutionContext,
    request: AdapterRequest,
    base: BaseModelRef,
    build_request: BuildRequest,
    slot: BuildSlot,
    artifacts: ArtifactStore,
    trainer: Trainer,
    tracking: Tracking,
) -> Built:
    # TrainingJob checks the names: it has a field for each, and forbids others.
    computed: dict[str, Any] = {name: artifact.folder for name, artifact in request.computed.items()}
    job = TrainingJob(
        recipe=request.recipe.name,
        asset=request.asset,
        fingerprint=build_request.fingerprint,
        spec=request.spec,
        base_model=base,
        parent=adapter_ref(artifacts, request.parent) if request.parent is not None else None,
        rows=request.rows.folder,
        inputs=build_request.inputs,
        deepspeed_config=_deepspeed_config(request.spec.backend),
        output_dir=slot.output,
        checkpoint_dir=slot.scratch,
        **computed,
    )
    asset_name = f"{request.recipe.name}/{request.asset}"
    metrics_file = slot.output / "metrics.jsonl"
    steps = total_steps(request.spec, request.rows.manifest.summary["train_rows"])
    reporter = ProgressReporter(context, metrics_file, total_steps=steps)
    with tracking.training_run(
        experiment=request.recipe.name,
        name=asset_name,
        dagster_run_id=context.run_id,
        tags={"dagster/asset_key": asset_name, "artifact/fingerprint": build_request.fingerprint},
        params=request.spec.model_dump(mode="json") | {f"input/{k}": v for k, v in build_request.inputs.items()},
    ) as tracked:
        result = trainer.train(job, environment=tracked.environment, on_line=reporter.on_line)
        curve = slot.output / "loss_curve.png"
        curve.write_bytes(loss_curve_png(metrics_rows(metrics_file), asset_name))
        figures = {**result.metrics, "tokens_seen": result.tokens_seen, "train_seconds": result.train_seconds}
        run_card = {
            **result.model_dump(mode="json"),
            "base_model": base.model_dump(mode="json"),
            "parent": _parent_card(request.parent),
            "mode": request.spec.adapter_mode if request.parent is not None else "new",
            "stack": stack_card(request.parent, request.spec.adapter_mode, request.spec.finetuning),
            "data": {name: entry.sha256 for name, entry in request.rows.manifest.files.items()},
            "rows": request.rows.manifest.summary,
            "dagster_run_id": context.run_id,
            "mlflow_run_id": tracked.run_id,
            "mlflow_run_url": tracked.url,
        }
        card = slot.scratch / "run_card.json"
        card.write_text(json.dumps(run_card, indent=2))
        tracking.log_outcome(tracked.run_id, figures, [curve, card], step=result.steps)
    return Built(summary=figures, run_card=run_card)


def _deepspeed_file(backend: str) -> Path | None:
    """Return configs/deepspeed/<backend>.json, or None for the backends that run without DeepSpeed."""
    if not backend.startswith("zero"):
        return None
    return configs_dir() / "deepspeed" / f"{backend}.json"


def _deepspeed_config(backend: str) -> dict[str, Any] | None:
    file = _deepspeed_file(backend)
    return None if file is None else json.loads(file.read_text(encoding="utf-8"))


def _parent_card(parent: Artifact | None) -> dict[str, str] | None:
    if parent is None:
        return None
    return {
        "asset": parent.manifest.asset,
        "fingerprint": parent.manifest.fingerprint,
        "sha256": adapter_sha256(parent),
    }


def _register(
    context: dg.AssetExecutionContext,
    request: AdapterRequest,
    artifact: Artifact,
    base: BaseModelRef,
    feedback: FeedbackResource,
) -> str:
    card = artifact.manifest.run_card or {}
    parent = card.get("parent")
    with feedback.open() as store:
        return store.register_version(
            adapter_sha256=adapter_sha256(artifact),
            deployment=request.recipe.name,
            stage=request.spec.stage,
            parent_sha256=parent["sha256"] if parent else None,
            base_model=base.name,
            asset_key=f"{request.recipe.name}/{request.asset}",
            materialization_run=context.run_id,
            mlflow_run=card.get("mlflow_run_id"),
        )


def _adapter_metadata(artifact: Artifact, label: str | None, tracking: Tracking) -> dict[str, Any]:
    manifest = artifact.manifest
    card = manifest.run_card or {}
    shown: dict[str, Any] = {f"training/{key}": value for key, value in manifest.summary.items()}
    shown |= {
        "adapter_sha256": adapter_sha256(artifact),
        "engine": card.get("engine", ""),
        "run_card": dg.MetadataValue.json(card),
        "manifest": dg.MetadataValue.path(str(artifact.folder / "manifest.json")),
        "loss_curve": inline_png(artifact.folder / "loss_curve.png", "loss curve"),
        "mlflow_run": dg.MetadataValue.url(str(card.get("mlflow_run_url", tracking.ui_url))),
    }
    if label is not None:
        shown["version"] = label
    return shown
