"""Direct preference optimization against a reference policy whose log-probs were computed beforehand."""

from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from llmops_assets.training.arguments import shared_arguments
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.rows import TrainingRows
from llmops_assets.training.specs import DpoSpec
from llmops_assets.training.whole_steps import WholeSteps

_TRLS_COPY = "ref"


class PreferenceTrainer(WholeSteps, DPOTrainer):
    """TRL's trainer, over whole optimizer steps and prepared rows; its loss and metrics are TRL's own."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        """Rows are tokenized already; `pair_rows` makes the token ids that TRL would make."""
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        """The log-probs of the reference policy are columns of the rows already."""
        return dataset


def training_arguments(job: TrainingJob, rows: TrainingRows) -> DPOConfig:
    """Return TRL's configuration: the spec's loss, plus the NLL anchor on the chosen answer if it has a weight."""
    spec = job.spec
    assert isinstance(spec, DpoSpec)
    losses: dict[str, float] = {spec.loss_type: 1.0}
    if spec.sft_weight:
        losses["sft"] = spec.sft_weight
    return DPOConfig(
        **shared_arguments(job, rows),
        max_length=spec.max_length,
        beta=spec.beta,
        loss_type=list(losses),
        loss_weights=list(losses.values()),
        label_smoothing=spec.label_smoothing,
        # TRL would load a second model as the reference of a full fine-tuning without it; for an adapter it would
        # hash the whole model for a cache that is not used.
        precompute_ref_log_probs=spec.finetuning == "full",
        include_num_input_tokens_seen="non_padding",
    )


def build_trainer(
    model: PeftModel | PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: TrainingRows, arguments: DPOConfig
) -> PreferenceTrainer:
    """Return a trainer on the pairs, which carry `ref_chosen_logps` and `ref_rejected_logps`."""
    trainer = PreferenceTrainer(
        model=model,
        args=arguments,
        train_dataset=rows.train,
        eval_dataset=rows.evaluation,
        processing_class=tokenizer,
    )
    trainer.precompute_ref_logps = True
    if isinstance(model, PeftModel) and _TRLS_COPY in model.peft_config:
        # TRL copies the adapter to a frozen one to compute the reference with; nothing does so any more.
        model.delete_adapter(_TRLS_COPY)
    return trainer
