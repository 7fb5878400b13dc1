"""Continued pre-training: whole documents, packed to the context length without losing a token."""

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from llmops_assets.training.arguments import ALREADY_PREPARED, shared_arguments
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.rows import TrainingRows
from llmops_assets.training.whole_steps import WholeSteps


class CptTrainer(WholeSteps, SFTTrainer):
    """TRL's trainer, over whole optimizer steps."""


def training_arguments(job: TrainingJob, rows: TrainingRows) -> SFTConfig:
    """Return TRL's configuration for rows that are packed already."""
    return SFTConfig(
        **shared_arguments(job, rows),
        max_length=job.spec.max_length,
        packing=True,
        packing_strategy="bfd_split",
        dataset_kwargs=ALREADY_PREPARED,
        # Packed rows carry no padding, and the separator doubles as pad token: counting "non_padding" would miss it.
        include_num_input_tokens_seen="all",
    )


def build_trainer(
    model: PeftModel | PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: TrainingRows, arguments: SFTConfig
) -> CptTrainer:
    """Return a trainer on the packed rows."""
    return CptTrainer(
        model=model,
        args=arguments,
        train_dataset=rows.train,
        eval_dataset=rows.evaluation,
        processing_class=tokenizer,
    )
