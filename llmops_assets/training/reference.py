"""Proof that DPO's reference policy is the parent adapter: by its weights, and by its log-probs on real pairs.

A first loss of ln 2 and a first margin of 0 prove nothing: they also appear when the *base* is the reference.
"""

import hashlib
from dataclasses import dataclass

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from trl.trainer.dpo_trainer import DPOTrainer

from llmops_assets.errors import LlmopsError
from llmops_assets.training.adapter_files import WEIGHTS_FILE
from llmops_assets.training.chat_template import conversation_ids
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.model import load_adapter, load_base_model
from llmops_assets.training.rows import TrainingRows

REFERENCE = "ref"
PROBE_PAIRS = 4
# Sums over an answer's tokens, computed by two code paths; bfloat16 keeps 8 bits of each hidden state.
_TOLERANCE = {"fp32": (1e-3, 1e-5), "bf16": (0.5, 2e-2)}


class WrongReference(LlmopsError):
    """The reference policy of a DPO run is not the parent adapter."""


class MissingParent(LlmopsError):
    """A DPO job names no parent adapter."""


@dataclass(frozen=True)
class ParentPolicy:
    """The parent adapter, loaded alone from its files, on the first PROBE_PAIRS pairs.

    `log_probs` and `base_log_probs` (without any adapter) have shape [2, pairs]: summed log-probs, in nats, of the
    chosen and of the rejected answers.
    """

    weights_sha256: str
    log_probs: Tensor
    base_log_probs: Tensor


def parent_policy(job: TrainingJob, tokenizer: PreTrainedTokenizerBase, rows: TrainingRows) -> ParentPolicy:
    """Load base and parent apart from the trainer, take its log-probs, and free both.

    Must run before the trainer's arguments are made, as ZeRO-3 would shard this model too.

    Raises MissingParent, WrongBase and CorruptAdapter.
    """
    if job.parent is None:
        raise MissingParent(
            f"{job.asset}: DPO improves on an adapter, but the job has no parent; add an sft stage to the recipe"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    base = load_base_model(job.base_model, job.spec.precision, job.spec.quantization)
    model = load_adapter(base, job.parent, job.base_model).to(device).eval()
    pairs = rows.train.select(range(min(PROBE_PAIRS, len(rows.train))))
    log_probs = _answer_log_probs(model, tokenizer, pairs)
    with model.disable_adapter():
        base_log_probs = _answer_log_probs(model, tokenizer, pairs)
    digest = _digest(_file_tensors(job))
    return ParentPolicy(digest, log_probs, base_log_probs)


def reference_weights_digest(model: PeftModel) -> str:
    """Return the digest of the trainer's reference adapter. Call it before an engine casts or shards the model.

    Raises WrongReference if there is no such adapter: then the base alone would be the reference.
    """
    marker = f".{REFERENCE}."
    tensors: dict[str, Tensor] = {
        name.replace(marker, "."): weight for name, weight in model.named_parameters() if marker in name
    }
    if not tensors:
        raise WrongReference("the trainer holds no reference adapter, so the base model would be the DPO reference")
    return _digest(tensors)


def check_reference(
    trainer: DPOTrainer, parent: ParentPolicy, weights_sha256: str, precision: str
) -> dict[str, float | str]:
    """Compare the trainer's reference with the parent loaded alone, and return the evidence for the run card.

    Call it on every rank, once the engine holds the model. `weights_sha256` is from `reference_weights_digest`.

    Raises WrongReference.
    """
    if weights_sha256 != parent.weights_sha256:
        raise WrongReference(
            f"the reference adapter's weights ({weights_sha256[:16]}) are not the parent's "
            f"({parent.weights_sha256[:16]}); this is a defect, please report it"
        )
    pairs = parent.log_probs.shape[1]
    dataset = trainer.train_dataset
    differences = []
    for index in range(pairs):
        batch = trainer.data_collator([dataset[index]])
        batch = {key: value.to(trainer.accelerator.device) for key, value in batch.items()}
        sides = trainer.compute_ref_log_probs(trainer.model_wrapped, batch)
        differences.append(torch.cat(sides).float().cpu() - parent.log_probs[:, index])
    difference = torch.stack(differences, dim=1).abs()
    absolute, relative = _TOLERANCE[precision]
    if bool((difference > absolute + relative * parent.log_probs.abs()).any()):
        raise WrongReference(
            f"the reference's log-probs differ from the parent adapter's by up to {difference.max():.4f} nats on "
            f"{pairs} pairs; DPO would pull the policy to another model than its parent"
        )
    from_base = (parent.base_log_probs - parent.log_probs).abs().max()
    return {
        "weights_sha256": weights_sha256,
        "parent_weights_sha256": parent.weights_sha256,
        "probe_pairs": float(pairs),
        "log_prob_difference_to_parent": float(difference.max()),
        "log_prob_difference_parent_to_base": float(from_base),
    }


def _answer_log_probs(model: PeftModel, tokenizer: PreTrainedTokenizerBase, pairs: Dataset) -> Tensor:
    return torch.stack(
        [
            torch.stack([_log_prob(model, tokenizer, pairs[i]["prompt"], pairs[i][side]) for i in range(len(pairs))])
            for side in ("chosen", "rejected")
        ]
    )


@torch.no_grad()
def _log_prob(model: PeftModel, tokenizer: PreTrainedTokenizerBase, prompt: list, answer: list) -> Tensor:
    """Return log p(answer | prompt), a scalar in nats: the sum over the answer's tokens from plain logits."""
    prompt_ids = conversation_ids(tokenizer, prompt, answer_follows=True)
    ids = conversation_ids(tokenizer, prompt + answer)
    start = next((i for i, (a, b) in enumerate(zip(prompt_ids, ids, strict=False)) if a != b), len(prompt_ids))
    tokens = torch.tensor([ids], device=model.device)
    scores = model(input_ids=tokens, use_cache=False).logits[0, start - 1 : -1].float().log_softmax(dim=-1)
    return scores.gather(1, tokens[0, start:, None]).sum().cpu()


def _file_tensors(job: TrainingJob) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    assert job.parent is not None
    return load_file(job.parent.path / WEIGHTS_FILE)


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode("utf-8"))
        digest.update(tensors[name].detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
