"""The reference policy of DPO as an asset: its log-probs on the pairs, taken once for all runs that are held to it."""

from typing import Any

import dagster as dg

from llmops_assets.assets.adapter_chain import adapter_ref, adapter_sha256, ancestors
from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.launchpad import launchpad_config, resolved
from llmops_assets.assets.lineage import asset_key, latest_artifact, materialized, readable_errors
from llmops_assets.assets.parents import dpo_parent
from llmops_assets.errors import LlmopsError
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.resources.feedback import FeedbackResource
from llmops_assets.resources.trainer import Trainer
from llmops_assets.training.job import AdapterRef, BaseModelRef
from llmops_assets.training.reference.job import ReferenceJob, ReferenceSpec
from llmops_assets.training.specs import DpoSpec

CODE_VERSION = "1"
NAME = "reference_log_probs"
REFERENCE = "reference"
"""Input of the asset: sha256 of the reference policy."""
GPU_POOL = "gpu"
# Where it is taken, as for the adapter that is trained against it.
_RUNTIME_ONLY = frozenset({"device"})
_ANCHOR = "anchor:"


class UnknownAnchor(LlmopsError):
    """`reference: anchor:<version>` names a version that the continued adapter does not descend from."""


class StaleReference(LlmopsError):
    """The log-probs that are there are those of another policy, of other rows, or were computed otherwise."""


def reference_log_probs_asset(recipe: Recipe, stage: DpoSpec) -> dg.AssetsDefinition:
    """Return the `<recipe>/reference_log_probs` asset."""
    settings = ReferenceSpec.of(stage)
    config_class = launchpad_config(settings)
    root = recipe.parent_of("dpo")
    assert root is not None, "a recipe with a dpo stage has an sft stage"

    @dg.asset(
        key=asset_key(recipe.name, NAME),
        deps=[asset_key(recipe.name, "dpo_rows"), asset_key(recipe.name, root)],
        group_name=recipe.name,
        kinds={"pytorch", "huggingface"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
        pool=GPU_POOL,
    )
    def reference_log_probs(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's stage
        artifacts: ArtifactStore,
        trainer: Trainer,
        feedback: FeedbackResource,
    ) -> dg.MaterializeResult:
        """Log-probs of DPO's reference policy on the training pairs: the adapter that the next DPO run continues, or
        the version that `reference: anchor:<version>` names. Sweeps, seeds and retries read them from here."""
        with readable_errors():
            rows = latest_artifact(context.instance, artifacts, recipe.name, "dpo_rows")
            parent = dpo_parent(context.instance, artifacts, recipe, rows.manifest.inputs["preference_set"])
            with feedback.open() as store:
                reference = reference_policy(artifacts, store, parent, stage.reference)
            base = recipe.base_model.resolve()
            request = reference_request(recipe, resolved(settings, config), base, rows, reference)
            build = _builder(request, base, rows, adapter_ref(artifacts, reference), trainer)
            artifact, reused = build_once(artifacts, request, build)
        return materialized(artifact, reused=reused, metadata=artifact.manifest.summary)

    return reference_log_probs


def reference_policy(artifacts: ArtifactStore, store: FeedbackStore, parent: Artifact, reference: str) -> Artifact:
    """Return the policy that a DPO run which continues `parent` is held to.

    Raises UnknownAnchor.
    """
    if not reference.startswith(_ANCHOR):
        return parent
    label = reference.removeprefix(_ANCHOR)
    line = {
        store.version_label(adapter_sha256(adapter)): adapter for adapter in (parent, *ancestors(artifacts, parent))
    }
    if label not in line:
        known = ", ".join(sorted(name for name in line if name)) or "none has a version"
        raise UnknownAnchor(
            f"reference: {reference}: the adapter that is continued does not descend from {label} ({known}); name one "
            "of these, or previous"
        )
    return line[label]


def current_reference(
    instance: dg.DagsterInstance,
    artifacts: ArtifactStore,
    recipe: Recipe,
    rows: Artifact,
    wanted: Artifact,
    spec: DpoSpec,
) -> Artifact:
    """Return the materialized log-probs of `wanted` on `rows`.

    Raises StaleReference unless they are that, computed as `spec` computes; and NotMaterialized.
    """
    found = latest_artifact(instance, artifacts, recipe.name, NAME)
    inputs, settings = found.manifest.inputs, ReferenceSpec.of(spec).model_dump()
    expected: dict[str, tuple[Any, Any]] = {
        "the reference policy": (inputs[REFERENCE], adapter_sha256(wanted)),
        "the rows": (inputs["dpo_rows"], rows.manifest.data_version),
    }
    for key in ("precision", "quantization", "batching"):
        expected[key] = (found.manifest.spec[key], settings[key])
    for what, (there, here) in expected.items():
        if there != here:
            raise StaleReference(
                f"{recipe.name}/{NAME}: {what} was {str(there)[:16]}, the DPO run has {str(here)[:16]}; materialize "
                f"{NAME} again, with the same settings"
            )
    return found


def reference_request(
    recipe: Recipe, spec: ReferenceSpec, base: BaseModelRef, rows: Artifact, reference: Artifact
) -> BuildRequest:
    """Return what makes the log-probs of `reference` on `rows` what they are; where they are taken is no part of it."""
    return BuildRequest(
        recipe=recipe.name,
        asset=NAME,
        spec=spec,
        inputs={
            "base_model": base.digest,
            "dpo_rows": rows.manifest.data_version,
            REFERENCE: adapter_sha256(reference),
        },
        code_version=CODE_VERSION,
        runtime_only=_RUNTIME_ONLY,
    )


def _builder(request: BuildRequest, base: BaseModelRef, rows: Artifact, reference: AdapterRef, trainer: Trainer):
    def build(slot: BuildSlot) -> Built:
        assert isinstance(request.spec, ReferenceSpec)
        job = ReferenceJob(
            asset=f"{request.recipe}/{NAME}",
            spec=request.spec,
            base_model=base,
            reference=reference,
            rows=rows.folder,
            output_dir=slot.output,
        )
        summary = trainer.take_reference(job, folder=slot.scratch, on_line=print)
        return Built(summary=summary.model_dump(mode="json"))

    return build
