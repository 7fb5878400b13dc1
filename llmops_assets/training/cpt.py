"""Continued pre-training: whole documents, packed to the context length without losing a token."""

from pathlib import Path

from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from llmops_assets.errors import LlmopsError
from llmops_assets.training.arguments import shared_arguments
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.rows import TrainingRows, read_rows, require_any, required_text
from llmops_assets.training.whole_steps import WholeSteps

DOCUMENT_SEPARATOR = "<|endoftext|>"


class CptTrainer(WholeSteps, SFTTrainer):
    """TRL's trainer, over whole optimizer steps."""


class TokensLost(LlmopsError):
    """Packing returned another number of tokens than it was given."""


def load_rows(job: TrainingJob, tokenizer: PreTrainedTokenizerBase) -> TrainingRows:
    """Tokenize `text` of every row and end it with the document separator. Raises BrokenRow and NothingToTrain."""
    train = _tokenize(job.train_file, tokenizer)
    evaluation = _tokenize(job.eval_file, tokenizer) if job.eval_file else None
    tokens = _count_tokens(train)
    return TrainingRows(train, evaluation, {"train_rows": float(len(train)), "train_tokens": float(tokens)})


def training_arguments(job: TrainingJob) -> SFTConfig:
    """Return TRL's configuration; `bfd_split` is the packing strategy that keeps every token and every boundary."""
    return SFTConfig(
        **shared_arguments(job),
        packing=True,
        packing_strategy="bfd_split",
        # Packed rows carry no padding, and the separator doubles as pad token: counting "non_padding" would miss it.
        include_num_input_tokens_seen="all",
    )


def build_trainer(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, rows: TrainingRows, arguments: SFTConfig
) -> CptTrainer:
    """Return a trainer on the packed rows. Raises TokensLost if packing changed the number of tokens."""
    trainer = CptTrainer(
        model=model,
        args=arguments,
        train_dataset=rows.train,
        eval_dataset=rows.evaluation,
        processing_class=tokenizer,
    )
    assert isinstance(trainer.train_dataset, Dataset)
    packed, given = _count_tokens(trainer.train_dataset), _count_tokens(rows.train)
    if packed != given:
        raise TokensLost(f"packing returned {packed} of {given} tokens; this is a defect, please report it")
    return trainer


def _tokenize(path: Path, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    texts = [required_text(where, row, "text") for where, row in read_rows(path)]
    require_any(path, len(texts), 0, "")
    separator = tokenizer.get_vocab().get(DOCUMENT_SEPARATOR, tokenizer.eos_token_id)
    ids = [[*row, separator] for row in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    return Dataset.from_dict({"input_ids": ids, "labels": ids})


def _count_tokens(dataset: Dataset) -> int:
    return sum(map(len, dataset["input_ids"]))
