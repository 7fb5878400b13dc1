"""How far a student's next-token distribution is from a teacher's of which only the likeliest tokens are kept.

At each position the vocabulary falls into k + 1 buckets: the teacher's k likeliest tokens, one each, and all other
tokens together. Both distributions are summed up in these buckets first and softened by the temperature T after that:
a softmax over the buckets' log-masses divided by T. In this order a student that equals its teacher has divergence 0 at
every T and k; softening the tail token by token would need all of the teacher's logits. With k = V no tail is left, and
the buckets are the vocabulary.

Forward KL is Hinton et al. 2015 (arXiv 1503.02531), reverse KL is Gu et al. 2023 (MiniLLM, arXiv 2306.08543), the
generalized Jensen-Shannon divergence is Agarwal et al. 2023 (GKD, arXiv 2306.13649).
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

Divergence = Literal["forward_kl", "reverse_kl", "jsd"]

# Logits of one chunk of positions. About five tensors of that size live at once while a gradient is taken.
_LOGITS_PER_CHUNK = {"cpu": 1 << 22, "cuda": 1 << 27}


class TopK(NamedTuple):
    """A teacher's distribution at N positions."""

    token_ids: torch.Tensor
    """[N, k] integers: the likeliest tokens, no token twice in a row."""
    log_probs: torch.Tensor
    """[N, k]: their log-probabilities at temperature 1, in nats."""
    tail: torch.Tensor
    """[N]: log of the mass of all other tokens; not read if k is the whole vocabulary."""

    def rows(self, begin: int, end: int) -> "TopK":
        """Return the positions from `begin` to before `end`."""
        return TopK(*(tensor[begin:end] for tensor in self))


@dataclass(frozen=True)
class Objective:
    """Which divergence is taken, at which temperature; `jsd_beta` is the teacher's weight in the mixture of jsd."""

    divergence: Divergence = "forward_kl"
    temperature: float = 1.0
    jsd_beta: float = 0.5

    def __call__(self, logits: torch.Tensor, teacher: TopK) -> torch.Tensor:
        """Return the divergence in nats at each of N positions, from the student's `logits` [N, V]; differentiable."""
        student = torch.log_softmax(_student_buckets(logits, teacher) / self.temperature, dim=-1)
        target = torch.log_softmax(_teacher_buckets(logits, teacher) / self.temperature, dim=-1)
        if self.divergence == "forward_kl":
            return _kl(target, student)
        if self.divergence == "reverse_kl":
            return _kl(student, target)
        beta = torch.tensor(self.jsd_beta, dtype=logits.dtype, device=logits.device)
        mixture = torch.logaddexp(target + beta.log(), student + (1 - beta).log())
        return beta * _kl(target, mixture) + (1 - beta) * _kl(student, mixture)


def summed_divergence(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    teacher: TopK,
    objective: Objective,
    *,
    logits_per_chunk: int | None = None,
) -> torch.Tensor:
    """Return the divergence summed over N positions, without ever holding their logits all at once.

    `hidden` [N, H] are the student's last hidden states, `weight` [V, H] and `bias` [V] its output head. Logits are
    made, and their gradient taken, for at most `logits_per_chunk` of them at a time and in float32 at least.
    """
    chunk = logits_per_chunk or _LOGITS_PER_CHUNK.get(hidden.device.type, _LOGITS_PER_CHUNK["cuda"])
    total = _SummedDivergence.apply(hidden, weight, bias, teacher, objective, max(1, chunk // weight.shape[0]))
    assert isinstance(total, torch.Tensor)
    return total


class _SummedDivergence(torch.autograd.Function):
    """Takes the gradient of each chunk in the forward pass, where its logits are at hand."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        teacher: TopK,
        objective: Objective,
        positions: int,
    ) -> torch.Tensor:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.zeros_like(hidden, dtype=exact) if wants_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=exact) if wants_weight else None
        grad_bias = torch.zeros_like(bias, dtype=exact) if bias is not None and wants_bias else None
        total = hidden.new_zeros((), dtype=exact)
        # Under autocast the products would be rounded to bfloat16, and with them every log-probability.
        with torch.autocast(hidden.device.type, enabled=False):
            head = _Head(weight, exact)
            for begin in range(0, len(hidden), positions):
                chunk = hidden[begin : begin + positions]
                logits = head.logits(chunk)
                if bias is not None:
                    logits += bias
                if not any(ctx.needs_input_grad[:3]):
                    total += objective(logits, teacher.rows(begin, begin + positions)).sum()
                    continue
                with torch.enable_grad():
                    logits.requires_grad_()
                    part = objective(logits, teacher.rows(begin, begin + positions)).sum()
                    (grad,) = torch.autograd.grad(part, logits)
                total += part.detach()
                if grad_hidden is not None:
                    grad_hidden[begin : begin + positions] = head.to_hidden(grad)
                if grad_weight is not None:
                    grad_weight.addmm_(grad.t(), chunk.to(exact))
                if grad_bias is not None:
                    grad_bias += grad.sum(dim=0)
        ctx.grads = (grad_hidden, grad_weight, grad_bias)
        ctx.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (scale,) = grad_outputs
        grads = [
            None if grad is None else (grad * scale).to(dtype)
            for grad, dtype in zip(ctx.grads, ctx.dtypes, strict=True)
        ]
        return *grads, None, None, None


class _Head:
    """Products with the output weights [V, H] in `exact`; on a GPU bfloat16 factors with float32 sums."""

    def __init__(self, weight: torch.Tensor, exact: torch.dtype) -> None:
        self._half = weight.is_cuda and weight.dtype in (torch.bfloat16, torch.float16)
        self._weight = weight if self._half else weight.to(exact)
        self._exact = exact

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._product(hidden, self._weight.t())

    def to_hidden(self, grad: torch.Tensor) -> torch.Tensor:
        return self._product(grad, self._weight)

    def _product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        if self._half:
            return torch.mm(left.to(right.dtype), right, out_dtype=self._exact)
        return left.to(self._exact) @ right


def top_k_of(logits: torch.Tensor, k: int) -> TopK:
    """Return the `k` likeliest tokens of each row of `logits` [N, V] with the log-mass of the rest; k <= V."""
    normalizer = logits.logsumexp(dim=-1)
    top, ids = logits.topk(k, dim=-1)
    tail = torch.full_like(normalizer, float("-inf")) if k == logits.shape[-1] else _rest(logits, ids) - normalizer
    return TopK(ids, top - normalizer.unsqueeze(-1), tail)


def _student_buckets(logits: torch.Tensor, teacher: TopK) -> torch.Tensor:
    """Log-masses of the buckets up to a constant, which a softmax takes no notice of."""
    ids = teacher.token_ids.long()
    kept = logits.gather(-1, ids)
    if ids.shape[-1] == logits.shape[-1]:
        return kept
    return torch.cat([kept, _rest(logits, ids).unsqueeze(-1)], dim=-1)


def _teacher_buckets(logits: torch.Tensor, teacher: TopK) -> torch.Tensor:
    kept = teacher.log_probs.to(logits.dtype)
    if kept.shape[-1] == logits.shape[-1]:
        return kept
    return torch.cat([kept, teacher.tail.to(logits.dtype).unsqueeze(-1)], dim=-1)


def _rest(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    # Summed, not one minus the kept mass: where a teacher is sure, that difference has no correct digit.
    return logits.scatter(-1, ids, float("-inf")).logsumexp(dim=-1)


def _kl(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """KL(left || right) of log-probabilities [N, buckets]."""
    return (left.exp() * (left - right)).sum(dim=-1)
