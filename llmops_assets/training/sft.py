"""Supervised fine-tuning: only what the assistant writes carries loss, its end-of-turn token included."""

from pathlib import Path

from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from llmops_assets.training.arguments import shared_arguments
from llmops_assets.training.chat_template import assistant_mask, require_trainable_template
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.rows import (
    BrokenRow,
    TrainingRows,
    read_rows,
    require_any,
    required_messages,
)
from llmops_assets.training.whole_steps import WholeSteps

IGNORED = -100


class SftTrainer(WholeSteps, SFTTrainer):
    """TRL's trainer, over whole optimizer steps."""


def load_rows(job: TrainingJob, tokenizer: PreTrainedTokenizerBase) -> TrainingRows:
    """Render `messages` of every row to `input_ids` and `labels` (-100 where no loss is taken).

    A conversation longer than `max_length` would lose its end, and with it the stop token: it is left out and counted.

    Raises UntrainableTemplate, BrokenRow and NothingToTrain.
    """
    require_trainable_template(tokenizer)
    train, too_long = _render(job.train_file, tokenizer, job.spec.max_length)
    evaluation = _render(job.eval_file, tokenizer, job.spec.max_length)[0] if job.eval_file else None
    trained = sum(label != IGNORED for labels in train["labels"] for label in labels)
    counts = {
        "train_rows": float(len(train)),
        "train_rows_too_long": float(too_long),
        "train_tokens": float(sum(map(len, train["input_ids"]))),
        "train_tokens_with_loss": float(trained),
    }
    return TrainingRows(train, evaluation, counts)


def training_arguments(job: TrainingJob) -> SFTConfig:
    """Return TRL's configuration. The labels are made here, so TRL's own masking stays off."""
    return SFTConfig(**shared_arguments(job), packing=False, include_num_input_tokens_seen="non_padding")


def build_trainer(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, rows: TrainingRows, arguments: SFTConfig
) -> SftTrainer:
    """Return a trainer on the rendered rows."""
    return SftTrainer(
        model=model,
        args=arguments,
        train_dataset=rows.train,
        eval_dataset=rows.evaluation,
        processing_class=tokenizer,
    )


def _render(path: Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[Dataset, int]:
    rows, too_long = [], 0
    for where, row in read_rows(path):
        ids, mask = assistant_mask(tokenizer, required_messages(where, row, "messages"))
        if not any(mask):
            raise BrokenRow(f"{where}: the conversation has no assistant turn, so there is nothing to learn from it")
        if len(ids) > max_length:
            too_long += 1
            continue
        labels = [token if trained else IGNORED for token, trained in zip(ids, mask, strict=True)]
        rows.append({"input_ids": ids, "labels": labels})
    require_any(path, len(rows), too_long, f"each is longer than max_length: {max_length} tokens")
    return Dataset.from_list(rows), too_long
