"""Log-probs of the reference policy on prepared pairs, taken once and reused by every run, seed and retry."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pyarrow as pa
import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from trl.trainer.dpo_trainer import DataCollatorForPreference

from llmops_assets.training.adapter_files import write_atomically
from llmops_assets.training.model import load_tokenizer
from llmops_assets.training.policy import Policy, device_of_process, frozen_policy
from llmops_assets.training.preparation.arrow_rows import (
    TRAIN_FILE,
    VALIDATION_FILE,
    has_validation,
    read_rows,
    write_rows,
)
from llmops_assets.training.reference.job import ReferenceJob, ReferenceSummary
from llmops_assets.training.speed.attention_choice import attention_implementation
from llmops_assets.training.speed.pair_batching import pair_scorer

SUMMARY_FILE = "reference.json"
COLUMNS: dict[str, pa.DataType] = {"ref_chosen_logps": pa.float32(), "ref_rejected_logps": pa.float32()}
PROBE_PAIRS = 4


def take_log_probs(job: ReferenceJob) -> ReferenceSummary:
    """Measure every pair of `job`, write one file for each file of rows, and return what reference.json holds.

    The reference is loaded alone from its files, in the precision and with the batching of the run that will be held
    against it, so that policy and reference differ by what is learned and not by rounding.

    Raises WrongBase, WrongStack, CorruptAdapter and MissingRows.
    """
    tokenizer = load_tokenizer(job.base_model)
    spec = job.spec
    attention = attention_implementation(
        "auto",
        packed=spec.batching == "padding_free",
        precision=spec.precision,
        on_gpu=device_of_process().type == "cuda",
    )
    policy = frozen_policy(job.base_model, job.reference, spec.precision, spec.quantization, attention)
    if spec.quantization == "none":
        torch.nn.Module.to(policy, device_of_process())
    measure = _Measure(policy, cast(int, tokenizer.pad_token_id), job)
    files = [TRAIN_FILE, *([VALIDATION_FILE] if has_validation(job.rows) else [])]
    means: list[Tensor] = []
    for file in files:
        rows = read_rows(job.rows, file)
        taken = measure(rows)
        if file == TRAIN_FILE:
            means = [side.mean() for side in taken]
        pairs = ({"ref_chosen_logps": c, "ref_rejected_logps": r} for c, r in taken.T.tolist())
        write_rows(job.output_dir / file, pairs, COLUMNS)
    train = read_rows(job.rows)
    summary = ReferenceSummary(
        reference_sha256=job.reference.sha256,
        pairs=len(train),
        mean_chosen=float(means[0]),
        mean_rejected=float(means[1]),
        difference_to_base=_difference_to_base(policy, measure, train),
    )
    write_atomically(job.output_dir / SUMMARY_FILE, summary.model_dump_json(indent=2).encode("utf-8"))
    return summary


class _Measure:
    """Log-probs [2, pairs] of prepared pairs in their order: of the chosen and of the rejected answers, in nats."""

    def __init__(self, policy: Policy, pad_token_id: int, job: ReferenceJob) -> None:
        self._score = pair_scorer(policy, job.spec.batching)
        self._collate = DataCollatorForPreference(pad_token_id=pad_token_id)
        self._job = job

    def __call__(self, rows: Dataset) -> Tensor:
        spec = self._job.spec
        device = device_of_process()
        result = torch.zeros(2, len(rows))
        for indices in _batches_of_like_length(rows, spec.batch_size):
            batch = self._collate([rows[i] for i in indices])
            batch = {key: value.to(device) for key, value in batch.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=spec.precision == "bf16"):
                taken = self._score(batch)
            result[:, indices] = taken.float().cpu()
        return result


def _batches_of_like_length(rows: Dataset, size: int) -> Iterator[list[int]]:
    lengths = [
        len(prompt) + max(len(chosen), len(rejected))
        for prompt, chosen, rejected in zip(
            _column(rows, "prompt_ids"), _column(rows, "chosen_ids"), _column(rows, "rejected_ids"), strict=True
        )
    ]
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _column(rows: Dataset, name: str) -> Sequence[Any]:
    return rows[name]


def _difference_to_base(policy: Policy, measure: _Measure, rows: Dataset) -> float:
    """Compare with the policy without its adapter on the first pairs; 0 for a policy that has none."""
    probe = rows.select(range(min(PROBE_PAIRS, len(rows))))
    with policy.disable_adapter() if isinstance(policy, PeftModel) else contextlib.nullcontext():
        without = measure(probe)
    return float((measure(probe) - without).abs().max())
