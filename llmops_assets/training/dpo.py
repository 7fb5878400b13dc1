"""Direct preference optimization of the parent adapter, with a frozen copy of that parent as the reference policy."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from llmops_assets.training.arguments import shared_arguments
from llmops_assets.training.chat_template import conversation_ids, require_trainable_template
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.rows import (
    BrokenRow,
    TrainingRows,
    read_rows,
    require_any,
    required_messages,
)
from llmops_assets.training.specs import DpoSpec
from llmops_assets.training.whole_steps import WholeSteps


class PreferenceTrainer(WholeSteps, DPOTrainer):
    """TRL's trainer, over whole optimizer steps."""


def load_rows(job: TrainingJob, tokenizer: PreTrainedTokenizerBase) -> TrainingRows:
    """Read preference pairs: `prompt` (messages), `chosen` and `rejected` (a text, or a list of assistant messages).

    A pair with an answer beyond `max_length` would be compared on cut answers: it is left out and counted.

    Raises UntrainableTemplate, BrokenRow and NothingToTrain.
    """
    require_trainable_template(tokenizer)
    train, too_long = _pairs(job.train_file, tokenizer, job.spec.max_length)
    evaluation = _pairs(job.eval_file, tokenizer, job.spec.max_length)[0] if job.eval_file else None
    counts = {"train_pairs": float(len(train)), "train_pairs_too_long": float(too_long)}
    return TrainingRows(train, evaluation, counts)


def training_arguments(job: TrainingJob) -> DPOConfig:
    """Return TRL's configuration: the spec's loss, plus the NLL anchor on the chosen answer if it has a weight."""
    spec = job.spec
    assert isinstance(spec, DpoSpec)
    losses: dict[str, float] = {spec.loss_type: 1.0}
    if spec.sft_weight:
        losses["sft"] = spec.sft_weight
    return DPOConfig(
        **shared_arguments(job),
        beta=spec.beta,
        loss_type=list(losses),
        loss_weights=list(losses.values()),
        label_smoothing=spec.label_smoothing,
        include_num_input_tokens_seen="non_padding",
    )


def build_trainer(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, rows: TrainingRows, arguments: DPOConfig
) -> PreferenceTrainer:
    """Return a trainer on the pairs.

    Neither `ref_model` nor `peft_config` is given: TRL then copies the model's trainable adapter to a frozen one called
    "ref". A `peft_config` would make the *base* the reference and drop the parent; reference.py proves that it did not.
    """
    return PreferenceTrainer(
        model=model,
        args=arguments,
        train_dataset=rows.train,
        eval_dataset=rows.evaluation,
        processing_class=tokenizer,
    )


def _pairs(path: Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[Dataset, int]:
    pairs, too_long = [], 0
    for where, row in read_rows(path):
        pair = {
            "prompt": required_messages(where, row, "prompt"),
            "chosen": _answer(where, row, "chosen"),
            "rejected": _answer(where, row, "rejected"),
        }
        if pair["chosen"] == pair["rejected"]:
            raise BrokenRow(f"{where}: chosen and rejected are the same answer; remove the pair")
        longest = max(len(conversation_ids(tokenizer, pair["prompt"] + pair[side])) for side in ("chosen", "rejected"))
        if longest > max_length:
            too_long += 1
            continue
        pairs.append(pair)
    require_any(path, len(pairs), too_long, f"each has an answer beyond max_length: {max_length} tokens")
    return Dataset.from_list(pairs), too_long


def _answer(where: str, row: dict[str, Any], key: str) -> list[dict[str, Any]]:
    if isinstance(row.get(key), str):
        row = {key: [{"role": "assistant", "content": row[key]}]}
    messages = required_messages(where, row, key)
    if any(message["role"] != "assistant" or not message["content"].strip() for message in messages):
        raise BrokenRow(f"{where}: {key} must be what the assistant answered, and not empty")
    return messages
