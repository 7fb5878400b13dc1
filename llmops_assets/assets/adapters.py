"""The adapter assets: CPT, SFT and DPO continue one LoRA over one base, each trained in its own process."""

import dagster as dg

from llmops_assets.assets.adapter_training import AdapterRequest, train_adapter
from llmops_assets.assets.launchpad import launchpad_config, resolved
from llmops_assets.assets.lineage import asset_key, latest_artifact, latest_metadata, readable_errors
from llmops_assets.assets.parents import dpo_parent
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import ArtifactStore
from llmops_assets.resources.feedback import FeedbackResource
from llmops_assets.resources.tracking import Tracking
from llmops_assets.resources.trainer import Trainer
from llmops_assets.training.specs import CptSpec, DpoSpec, SftSpec

CODE_VERSION = "1"
GPU_POOL = "gpu"
_KINDS = {"pytorch", "huggingface", "mlflow", "deepspeed"}
_STAGE = frozenset({"stage"})
WATERMARK = "preferences/through_seq"


def cpt_adapter_asset(recipe: Recipe, stage: CptSpec) -> dg.AssetsDefinition:
    """Return the `<recipe>/cpt_adapter` asset."""
    config_class = launchpad_config(stage, leave_out=_STAGE)

    @dg.asset(
        key=asset_key(recipe.name, "cpt_adapter"),
        deps=[asset_key(recipe.name, "corpus")],
        group_name=recipe.name,
        kinds=_KINDS,
        owners=recipe.owners,
        code_version=CODE_VERSION,
        pool=GPU_POOL,
    )
    def cpt_adapter(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's stage
        artifacts: ArtifactStore,
        trainer: Trainer,
        tracking: Tracking,
    ) -> dg.MaterializeResult:
        """LoRA adapter after continued pre-training on the corpus: it knows the domain's text, not yet how to
        answer. Packed rows, no token lost; held-out documents are never read."""
        with readable_errors():
            corpus = latest_artifact(context.instance, artifacts, recipe.name, "corpus")
            request = AdapterRequest(
                recipe=recipe,
                asset="cpt_adapter",
                spec=resolved(stage, config),
                train_set=corpus,
                parent=None,
                code_version=CODE_VERSION,
            )
            return train_adapter(context, request, artifacts=artifacts, trainer=trainer, tracking=tracking)

    return cpt_adapter


def sft_adapter_asset(recipe: Recipe, stage: SftSpec) -> dg.AssetsDefinition:
    """Return the `<recipe>/sft_adapter` asset: the lane's v1.0, v2.0, ..."""
    config_class = launchpad_config(stage, leave_out=_STAGE)
    has_cpt = recipe.cpt is not None

    @dg.asset(
        key=asset_key(recipe.name, "sft_adapter"),
        deps=[asset_key(recipe.name, name) for name in (["sft_set", "cpt_adapter"] if has_cpt else ["sft_set"])],
        group_name=recipe.name,
        kinds=_KINDS,
        owners=recipe.owners,
        code_version=CODE_VERSION,
        pool=GPU_POOL,
    )
    def sft_adapter(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's stage
        artifacts: ArtifactStore,
        trainer: Trainer,
        tracking: Tracking,
        feedback: FeedbackResource,
    ) -> dg.MaterializeResult:
        """LoRA adapter after supervised fine-tuning, continuing the CPT adapter: it answers, and it stops. Loss is
        on assistant tokens alone, the end of the turn included. Every new one starts a major version (v1.0)."""
        with readable_errors():
            parent = latest_artifact(context.instance, artifacts, recipe.name, "cpt_adapter") if has_cpt else None
            request = AdapterRequest(
                recipe=recipe,
                asset="sft_adapter",
                spec=resolved(stage, config),
                train_set=latest_artifact(context.instance, artifacts, recipe.name, "sft_set"),
                parent=parent,
                code_version=CODE_VERSION,
            )
            return train_adapter(
                context, request, artifacts=artifacts, trainer=trainer, tracking=tracking, feedback=feedback
            )

    return sft_adapter


def dpo_adapter_asset(recipe: Recipe, stage: DpoSpec) -> dg.AssetsDefinition:
    """Return the `<recipe>/dpo_adapter` asset: the lane's v1.1, v1.2, ..."""
    config_class = launchpad_config(stage, leave_out=_STAGE)

    @dg.asset(
        key=asset_key(recipe.name, "dpo_adapter"),
        deps=[asset_key(recipe.name, "preference_set"), asset_key(recipe.name, "sft_adapter")],
        group_name=recipe.name,
        kinds=_KINDS,
        owners=recipe.owners,
        code_version=CODE_VERSION,
        pool=GPU_POOL,
    )
    def dpo_adapter(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's stage
        artifacts: ArtifactStore,
        trainer: Trainer,
        tracking: Tracking,
        feedback: FeedbackResource,
    ) -> dg.MaterializeResult:
        """LoRA adapter after direct preference optimization on people's votes. It continues the champion of its
        SFT line, which is also the frozen reference policy. Every new one is a minor version (v1.1, v1.2)."""
        with readable_errors():
            preferences = latest_artifact(context.instance, artifacts, recipe.name, "preference_set")
            request = AdapterRequest(
                recipe=recipe,
                asset="dpo_adapter",
                spec=resolved(stage, config),
                train_set=preferences,
                parent=dpo_parent(context.instance, artifacts, recipe.name, preferences.manifest.data_version),
                code_version=CODE_VERSION,
            )
            watermark = (latest_metadata(context.instance, recipe.name, "preference_set") or {})[WATERMARK]
            return train_adapter(
                context,
                request,
                artifacts=artifacts,
                trainer=trainer,
                tracking=tracking,
                feedback=feedback,
                metadata={WATERMARK: watermark},
            )

    return dpo_adapter
