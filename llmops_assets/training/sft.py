"""Supervised fine-tuning: only what the assistant writes carries loss, its end-of-turn token included."""

from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from llmops_assets.training.arguments import ALREADY_PREPARED, shared_arguments
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.rows import TrainingRows
from llmops_assets.training.specs import ChatRows
from llmops_assets.training.whole_steps import WholeSteps


class SftTrainer(WholeSteps, SFTTrainer):
    """TRL's trainer, over whole optimizer steps."""


def training_arguments(job: TrainingJob, rows: TrainingRows) -> SFTConfig:
    """Return TRL's configuration. Rows have their labels, so TRL's own masking and truncation stay off."""
    return SFTConfig(**shared_arguments(job, rows), **chat_batching(job), dataset_kwargs=ALREADY_PREPARED)


def chat_batching(job: TrainingJob) -> dict[str, Any]:
    """Return the arguments of TRL's SFTConfig by which rows of conversations become batches."""
    assert isinstance(job.spec, ChatRows)
    batching = job.spec.batching
    return {
        "packing": batching == "packed",
        "packing_strategy": "bfd_split",
        "padding_free": batching == "padding_free",
        # TRL refuses a limit that it could not enforce; rows without padding are within theirs already.
        "max_length": job.spec.max_length if batching != "padding_free" else None,
        # Only padded rows hold tokens that nobody reads.
        "include_num_input_tokens_seen": "non_padding" if batching == "padded" else "all",
    }


def build_trainer(
    model: PeftModel | PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: TrainingRows, arguments: SFTConfig
) -> SftTrainer:
    """Return a trainer on the rendered rows."""
    return SftTrainer(
        model=model,
        args=arguments,
        train_dataset=rows.train,
        eval_dataset=rows.evaluation,
        processing_class=tokenizer,
    )
