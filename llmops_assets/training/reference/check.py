"""Proof that a DPO run starts at its reference policy: by the sha256 of the files, and by log-probs on real pairs.

A first loss of ln 2 and a first margin of 0 prove nothing: they also appear when the *base* is the reference.
"""

from typing import Any

import torch
from torch import Tensor
from trl.trainer.dpo_trainer import DPOTrainer

from llmops_assets.errors import LlmopsError
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.reference.job import ReferenceSummary
from llmops_assets.training.reference.log_probs import PROBE_PAIRS, SUMMARY_FILE
from llmops_assets.training.specs import DpoSpec

IGNORED = -100
# Sums over an answer's tokens in batches of other shapes; bfloat16 keeps 8 bits of each hidden state.
_TOLERANCE = {"fp32": (1e-3, 1e-5), "bf16": (0.5, 2e-2)}


class WrongReference(LlmopsError):
    """The reference policy of a DPO run is not the one that the job asks for."""


class MissingReference(LlmopsError):
    """A DPO job names no parent adapter, or no log-probs of its reference."""


def require_reference(job: TrainingJob) -> ReferenceSummary:
    """Return whose log-probs the job was given.

    Raises MissingReference, and WrongReference if they are another policy's than the parent's, which `reference:
    previous` asks for.
    """
    if job.parent is None:
        raise MissingReference(
            f"{job.asset}: DPO improves on an adapter, but the job has no parent; add an sft stage to the recipe"
        )
    if job.reference_log_probs is None:
        raise MissingReference(
            f"{job.asset}: the job names no log-probs of its reference policy; materialize reference_log_probs first"
        )
    summary = ReferenceSummary.model_validate_json((job.reference_log_probs / SUMMARY_FILE).read_text(encoding="utf-8"))
    assert isinstance(job.spec, DpoSpec)
    if job.spec.reference == "previous" and summary.reference_sha256 != job.parent.sha256:
        raise WrongReference(
            f"{job.reference_log_probs}: log-probs of {summary.reference_sha256[:16]}, but the run continues "
            f"{job.parent.sha256[:16]}; materialize reference_log_probs again"
        )
    return summary


def reference_card(job: TrainingJob, summary: ReferenceSummary) -> dict[str, float | str]:
    """Return what the run card says about the reference of a DPO job."""
    assert isinstance(job.spec, DpoSpec)
    return {
        "reference": job.spec.reference,
        "reference_sha256": summary.reference_sha256,
        "log_prob_difference_reference_to_base": summary.difference_to_base,
    }


def check_start(trainer: DPOTrainer, job: TrainingJob, summary: ReferenceSummary) -> dict[str, float | str]:
    """Compare the policy, before its first step, with the log-probs of its reference; return the evidence.

    Call it on every rank, once the engine holds the model. With `reference: previous` the two must agree; an anchor is
    another policy, and the difference is only recorded.

    Raises WrongReference.
    """
    assert isinstance(job.spec, DpoSpec)
    dataset: Any = trainer.train_dataset
    pairs = min(PROBE_PAIRS, len(dataset))
    differences, cached = [], []
    for index in range(pairs):
        batch = trainer.data_collator([dataset[index]])
        batch = {key: value.to(trainer.accelerator.device) for key, value in batch.items()}
        known = torch.cat([batch["ref_chosen_logps"], batch["ref_rejected_logps"]]).float().cpu()
        cached.append(known)
        differences.append(_policy_log_probs(trainer, batch) - known)
    difference = torch.stack(differences).abs()
    absolute, relative = _TOLERANCE[job.spec.precision]
    apart = bool((difference > absolute + relative * torch.stack(cached).abs()).any())
    if apart and job.spec.reference == "previous":
        raise WrongReference(
            f"before its first step the policy's log-probs differ from its reference's by up to "
            f"{float(difference.max()):.4f} nats on {pairs} pairs, though the reference is the adapter that it "
            "continues; this is a defect, please report it"
        )
    return reference_card(job, summary) | {
        "probe_pairs": float(pairs),
        "log_prob_difference_policy_to_reference": float(difference.max()),
    }


@torch.no_grad()
def _policy_log_probs(trainer: DPOTrainer, batch: dict[str, Tensor]) -> Tensor:
    """Return the log-probs [2] of one pair's chosen and rejected answer under the policy, in nats."""
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED)
    with trainer.accelerator.autocast():
        assert trainer.model_wrapped is not None
        output = trainer.model_wrapped(**inputs, labels=labels, use_cache=False, fused_lm_head=True)
    return output.log_probs.sum(dim=1).float().cpu()
