"""The plainest trainer there is: transformers' Trainer and PEFT, nothing else. Run as a script with one JSON file.

Reads the same prepared Arrow rows and the same start adapter as the others. DPO (arXiv 2305.18290) takes the log-probs
of the reference in each step, from the model with its adapter off.
"""

import json
import sys
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

IGNORED = -100


class PairCollator:
    """Pads chosen answers, then rejected ones, to one batch [2 * pairs, longest]."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad = pad_token_id

    def __call__(self, pairs: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        rows = [(pair["prompt_ids"], pair[side]) for side in ("chosen_ids", "rejected_ids") for pair in pairs]
        longest = max(len(prompt) + len(answer) for prompt, answer in rows)

        def filled(ids: list[int], filler: int) -> list[int]:
            return ids + [filler] * (longest - len(ids))

        return {
            "input_ids": torch.tensor([filled(prompt + answer, self._pad) for prompt, answer in rows]),
            "attention_mask": torch.tensor([filled([1] * len(prompt + answer), 0) for prompt, answer in rows]),
            "labels": torch.tensor([filled([IGNORED] * len(prompt) + answer, IGNORED) for prompt, answer in rows]),
        }


class PairTrainer(Trainer):
    """Trainer with the sigmoid loss of DPO."""

    def __init__(self, *arguments: Any, beta: float, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._beta = beta

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Any:
        labels = inputs.pop("labels")
        policy = answer_log_probs(model, inputs, labels)
        # accelerate gives a Module back, whichever it was given.
        unwrapped = cast(PeftModel, self.accelerator.unwrap_model(model))
        with torch.no_grad(), unwrapped.disable_adapter():
            reference = answer_log_probs(model, inputs, labels)
        chosen, rejected = (policy - reference).chunk(2)
        return -functional.logsigmoid(self._beta * (chosen - rejected)).mean()


def answer_log_probs(model: Any, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Return the log-probs [rows] of the labelled tokens of each row, in nats."""
    logits = model(**inputs, use_cache=False).logits[:, :-1].float()
    targets = labels[:, 1:]
    scored = targets != IGNORED
    taken = logits.log_softmax(-1).gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return (taken * scored).sum(-1)


def main(path: Path) -> None:
    """Train as the JSON file at `path` says."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(settings["base"])
    base = AutoModelForCausalLM.from_pretrained(settings["base"], dtype=torch.float32)
    model = PeftModel.from_pretrained(base, settings["adapter"], is_trainable=True)
    arguments = TrainingArguments(**settings["arguments"])
    rows = Dataset.from_file(settings["rows"])
    shared: dict[str, Any] = {"model": model, "args": arguments, "train_dataset": rows}
    if settings["stage"] == "dpo":
        trainer = PairTrainer(**shared, data_collator=PairCollator(tokenizer.pad_token_id), beta=settings["beta"])
    else:
        trainer = Trainer(**shared, data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True))
    trainer.train()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
