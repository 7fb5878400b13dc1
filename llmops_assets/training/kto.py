"""Kahneman-Tversky optimization of the parent adapter on thumbs, with a frozen copy of it as the reference policy."""

import copy
from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from llmops_assets.training.arguments import shared_arguments
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.rows import TrainingRows
from llmops_assets.training.specs import KtoSpec


class ThumbTrainer(KTOTrainer):
    """TRL's trainer on prepared rows.

    It keeps TRL's order of rows: the KL term is estimated from the answers of the same micro batch, each one paired
    with the prompt before it, so rows that share a batch are fixed when it is built.
    """

    def _prepare_dataset(self, dataset: Dataset, processing_class: Any, args: KTOConfig, dataset_name: str) -> Dataset:
        """Add the mismatched answers of the KL term; the rows are tokenized already."""

        def rotated(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
            answers = rows["completion_ids"]
            return {"KL_completion_ids": [answers[-1], *answers[:-1]]}

        return dataset.map(
            rotated, batched=True, batch_size=args.per_device_train_batch_size, load_from_cache_file=False
        )


def training_arguments(job: TrainingJob, rows: TrainingRows) -> KTOConfig:
    """Return TRL's configuration."""
    spec = job.spec
    assert isinstance(spec, KtoSpec)
    return KTOConfig(
        **shared_arguments(job, rows),
        max_length=spec.max_length,
        beta=spec.beta,
        desirable_weight=spec.desirable_weight,
        undesirable_weight=spec.undesirable_weight,
        include_num_input_tokens_seen="non_padding",
    )


def build_trainer(
    model: PeftModel | PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: TrainingRows, arguments: KTOConfig
) -> ThumbTrainer:
    """Return a trainer on the thumbs.

    The reference of an adapter is a frozen copy that TRL makes of it, if neither `ref_model` nor `peft_config` is
    given. For a whole model TRL would load the base from its name, which lacks the parent that is merged into it.
    """
    reference = None if isinstance(model, PeftModel) else copy.deepcopy(model).requires_grad_(False)
    return ThumbTrainer(
        model=model,
        ref_model=reference,
        args=arguments,
        train_dataset=rows.train,
        eval_dataset=rows.evaluation,
        processing_class=tokenizer,
    )
