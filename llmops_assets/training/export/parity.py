"""Whether a merged model says what its base says with the adapter beside it, measured on a probe set."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llmops_assets.errors import LlmopsError
from llmops_assets.training.export.job import Parity, Precision

PROBES = (
    "What is a list?",
    "How do I read a file line by line in Python?",
    "Summarize in one sentence why the sky is blue.",
    "Translate to German: The invoice is due on the first of March.",
    "What is 17 times 23?",
    "Write a function that reverses a string.",
    "Name three side effects of aspirin.",
    "Extract the total: Subtotal 40.00, VAT 8.00, total 48.00 EUR.",
    "Explain recursion to a child.",
    "List the prime numbers below 30.",
    "Who wrote Faust?",
    "Give me a regular expression for a date such as 2024-05-31.",
)
PROBE_TOKENS = 64


class ParityFailed(LlmopsError):
    """A merged model does not compute what its base with the adapter computes."""


@dataclass(frozen=True)
class Limits:
    """What a merge may change: each figure of `Parity` at worst."""

    max_logit_difference: float
    mean_kl: float
    top1_agreement: float
    share_of_adapter: float = 0.1


# Below this KL, float32's own rounding speaks; an adapter that makes less changes nothing.
_SILENCE = 1e-9

# float32 leaves rounding in the last digits. bfloat16 keeps 8 bits of each weight; the rest is noise on every logit.
LIMITS: dict[Precision, Limits] = {
    "fp32": Limits(max_logit_difference=1e-2, mean_kl=1e-6, top1_agreement=0.99),
    "bf16": Limits(max_logit_difference=2.0, mean_kl=1e-2, top1_agreement=0.9),
}


def probe_rows(tokenizer: PreTrainedTokenizerBase, questions: Iterable[str]) -> list[list[int]]:
    """Return each question's token ids, as a user's turn if there is a chat template, `PROBE_TOKENS` at most."""
    rows = []
    for question in questions:
        text = question
        if tokenizer.chat_template:
            turn = [{"role": "user", "content": question}]
            text = str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
        rows.append(tokenizer(text, add_special_tokens=not tokenizer.chat_template)["input_ids"][-PROBE_TOKENS:])
    return [row for row in rows if row]


@torch.no_grad()
def probe_logits(model: Any, rows: list[list[int]]) -> list[Tensor]:
    """Return the model's float32 logits of each row, [tokens, vocabulary]; rows go through it one by one, unpadded."""
    return [model(input_ids=torch.tensor([row]), use_cache=False).logits[0].float() for row in rows]


def compare(reference: list[Tensor], merged: list[Tensor], without_adapter: list[Tensor] | None) -> Parity:
    """Compare the logits that three models give to the same rows; see `Parity` for the figures."""
    kl = torch.cat([_kl(one, other) for one, other in zip(reference, merged, strict=True)])
    first = torch.cat([one.argmax(-1) == other.argmax(-1) for one, other in zip(reference, merged, strict=True)])
    apart = [(one - other).abs().max() for one, other in zip(reference, merged, strict=True)]
    effect = None
    if without_adapter is not None:
        effect = torch.cat([_kl(one, other) for one, other in zip(reference, without_adapter, strict=True)])
    return Parity(
        prompts=len(reference),
        tokens=len(kl),
        max_logit_difference=float(torch.stack(apart).max()),
        mean_kl=float(kl.mean()),
        max_kl=float(kl.max()),
        top1_agreement=float(first.double().mean()),
        adapter_kl=None if effect is None else float(effect.mean()),
    )


def require_parity(parity: Parity, precision: Precision, name: str) -> None:
    """Raise ParityFailed, with the figures, if one of them is beyond the limit of `precision`.

    The KL divergence has a second limit: a tenth of what the adapter itself makes. A merge that rounds a faint adapter
    away changes next to nothing, and fails by this one alone.
    """
    limits = LIMITS[precision]
    beyond = []
    # `not <=` instead of `>`: a NaN is beyond every limit.
    if not parity.max_logit_difference <= limits.max_logit_difference:
        beyond.append(f"a logit differs by {parity.max_logit_difference:.3g} (limit {limits.max_logit_difference:g})")
    if not parity.mean_kl <= limits.mean_kl:
        beyond.append(f"KL {parity.mean_kl:.3g} nats per token (limit {limits.mean_kl:g})")
    if not parity.top1_agreement >= limits.top1_agreement:
        beyond.append(f"the same first token at {parity.top1_agreement:.1%} (limit {limits.top1_agreement:.0%})")
    effect = parity.adapter_kl
    if effect is not None and not parity.mean_kl <= max(limits.share_of_adapter * effect, _SILENCE):
        beyond.append(
            f"KL {parity.mean_kl:.3g} against {effect:.3g} that the adapter makes (limit {limits.share_of_adapter:.0%})"
        )
    if beyond:
        advice = "export with --precision fp32, or serve the adapter beside its base" if precision == "bf16" else ""
        raise ParityFailed(
            f"{name}: the merged model in {precision} is not the base with the adapter beside it, on {parity.tokens} "
            f"tokens of {parity.prompts} prompts: {'; '.join(beyond)}. Nothing was kept; "
            f"{advice or 'serve the adapter beside its base, and report this merge'}"
        )


def _kl(reference: Tensor, other: Tensor) -> Tensor:
    """KL(reference || other) in nats, [tokens]; in float64, as it is a small difference of large sums."""
    p, q = reference.double().log_softmax(-1), other.double().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).clamp_min(0)
