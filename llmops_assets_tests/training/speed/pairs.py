"""Preference pairs in tokens, a small LoRA on the tiny base, and TRL's DPO trainer over such pairs as they are."""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PrinterCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

STEPS = 8


def pair(prompt: int, chosen: int, rejected: int, common: int = 0, seed: int = 0) -> dict[str, list[int]]:
    """A pair with texts of so many tokens; the answers begin with `common` equal tokens."""
    generator = torch.Generator().manual_seed(seed)
    prompt_ids, chosen_ids, rejected_ids = (
        torch.randint(5, 300, (size,), generator=generator).tolist() for size in (prompt, chosen, rejected)
    )
    return {
        "prompt_ids": prompt_ids,
        "chosen_ids": chosen_ids,
        "rejected_ids": chosen_ids[:common] + rejected_ids[common:],
    }


def pairs(number: int) -> list[dict[str, list[int]]]:
    """Pairs of many shapes: among them prompts of one token, prompts longer than both answers, and equal beginnings."""
    return [
        pair(
            prompt=1 + index * 7 % 40,
            chosen=1 + index * 5 % 23,
            rejected=1 + index * 11 % 29,
            common=index % 3,
            seed=index,
        )
        for index in range(number)
    ]


def collated(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """The padded batch that TRL makes of the pairs: chosen texts, then rejected ones."""
    return DataCollatorForPreference(pad_token_id=0)(rows)


def small_lora(base: str, dtype: torch.dtype = torch.float32) -> PeftModel:
    """A LoRA whose B matrices are not zero, so that it differs from its base and all its gradients are alive."""
    torch.manual_seed(3)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=dtype),
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    assert isinstance(model, PeftModel)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model


def core_of(model: PeftModel) -> PreTrainedModel:
    """The causal language model under the LoRA."""
    core = model.get_base_model()
    assert isinstance(core, PreTrainedModel)
    return core


class TokenPairTrainer(DPOTrainer):
    """TRL's trainer over pairs that are tokens already."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def dpo_trainer(base: str, folder: Path, rows: list[dict[str, Any]], **arguments: Any) -> TokenPairTrainer:
    """A trainer of STEPS steps over micro batches of 4 pairs in their order, on the CPU, that logs each step."""
    bf16 = arguments.get("bf16", False)
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "max_steps": STEPS,
        "learning_rate": 2e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "dataloader_pin_memory": False,
        "activation_checkpointing": False,
        "disable_tqdm": True,
    }
    trainer = TokenPairTrainer(
        model=small_lora(base, torch.bfloat16 if bf16 else torch.float32),
        args=DPOConfig(output_dir=str(folder), **settings | arguments),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def history(trainer: DPOTrainer) -> list[dict[str, float]]:
    """Train, and return what was logged at each step."""
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]
