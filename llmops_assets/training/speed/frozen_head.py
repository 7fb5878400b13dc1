"""Log-probs of labelled tokens under a frozen LM head, on CPUs, with their gradient taken in the forward pass.

TRL's fused head keeps no logits and computes them a second time to go back. With frozen weights the gradient needs no
second time: log p(target) = z_target - log sum exp(z) with logits z = W h, so d log p / dh = W_target - p W, which has
the size of h and is taken while the logits are at hand; going back is one multiplication. On CPUs TRL also scores
positions without a label. On GPUs its Triton kernel does neither harm, and is left alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from trl.kernels import ChunkedLogProbFunction
from trl.trainer import utils

# Names of TRL's module that it does not export.
TRL_HEADS: Any = utils
# Logits of one chunk in float32: what a core's second-level cache holds.
_CHUNK_BYTES = 1 << 20
_FEWEST_ROWS = 64

Outputs = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]


@contextmanager
def frozen_head() -> Iterator[None]:
    """Let the fused heads of TRL's models run as here within the block, where that is the same (see FrozenHead).

    The head's function is a name of TRL's module, and so is the question whether a device scores labelled tokens alone;
    both are put back at the end.
    """
    function, compact = TRL_HEADS._ChunkedLogProbFunction, TRL_HEADS._use_triton
    TRL_HEADS._ChunkedLogProbFunction = FrozenHead
    TRL_HEADS._use_triton = lambda device: device.type == "cpu" or compact(device)
    try:
        yield
    finally:
        TRL_HEADS._ChunkedLogProbFunction, TRL_HEADS._use_triton = function, compact


class FrozenHead:
    """Stands in for TRL's `ChunkedLogProbFunction`."""

    @staticmethod
    def apply(
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        chunk_size: int,
        final_logit_softcapping: float | None = None,
        logit_scale: float = 1.0,
        outputs: tuple[str, ...] = (),
    ) -> Outputs:
        """Return log-probs [N] and what `outputs` names, None for the rest, as TRL's function does.

        hidden: [N, H], weight: [V, H], bias: [V], targets: int [N]. TRL's own function runs for a head that is trained,
        on GPUs, and for capped logits. The entropy has no gradient here; TRL's trainers log it alone.
        """
        trained = weight.requires_grad or (bias is not None and bias.requires_grad)
        if trained or hidden.device.type != "cpu" or final_logit_softcapping is not None:
            arguments = (temperature, chunk_size, final_logit_softcapping, logit_scale, outputs)
            return ChunkedLogProbFunction.apply(hidden, weight, bias, targets, *arguments)  # pyright: ignore[reportReturnType]
        return _FrozenHead.apply(hidden, weight, bias, targets, logit_scale / temperature, outputs)  # pyright: ignore[reportReturnType]


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        scale: float,
        outputs: tuple[str, ...],
    ) -> Outputs:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype
        states, head = hidden.to(dtype), weight.to(dtype)
        offset = None if bias is None else bias.to(dtype)
        count, vocabulary = targets.shape[0], head.shape[0]
        goes_back = ctx.needs_input_grad[0]
        gradient = torch.empty(hidden.shape, dtype=torch.float32) if goes_back else None
        found = _Found(count, outputs)
        rows = max(_FEWEST_ROWS, _CHUNK_BYTES // (4 * vocabulary))
        tile = torch.empty((min(rows, count), vocabulary), dtype=dtype)
        for start in range(0, count, rows):
            part = slice(start, min(start + rows, count))
            logits = torch.mm(states[part], head.t(), out=tile[: part.stop - start])
            if offset is not None:
                logits.add_(offset)
            scores = logits.float()
            if scale != 1.0:
                scores = scores.mul_(scale)
            target = targets[part, None]
            sums = found.take(part, scores, target)
            if gradient is not None:
                # exp(z) / -sum is -p; with 1 at the target it is the gradient for the logits.
                scores.div_(sums.neg_()).scatter_add_(1, target, scores.new_ones(target.shape))
                gradient[part] = scores.to(dtype) @ head
        if gradient is not None:
            ctx.save_for_backward(gradient if scale == 1.0 else gradient.mul_(scale))
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(x for x in found.extras if x is not None))
        ctx.dtype = hidden.dtype
        return (found.log_probs, *found.extras)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_log_probs: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad_log_probs is None:
            return (None,) * 6
        (gradient,) = ctx.saved_tensors
        return (gradient * grad_log_probs.float()[:, None]).to(ctx.dtype), None, None, None, None, None


class _Found:
    """What is known of each position, filled chunk by chunk. Definitions are those of TRL's function."""

    def __init__(self, count: int, outputs: tuple[str, ...]) -> None:
        def wanted(name: str, dtype: torch.dtype = torch.float32) -> Tensor | None:
            return torch.empty(count, dtype=dtype) if name in outputs else None

        self.log_probs = torch.empty(count)
        self.entropy, self.log_sum_sq = wanted("entropy"), wanted("log_sum_sq_probs")
        self.mean_logits, self.is_top1 = wanted("mean_logits"), wanted("is_top1", torch.bool)

    @property
    def extras(self) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        return self.entropy, self.log_sum_sq, self.mean_logits, self.is_top1

    def take(self, part: slice, scores: Tensor, target: Tensor) -> Tensor:
        """Turn logits `scores` [n, V] into their exponentials less the largest, in place; return the sums [n, 1]."""
        if self.mean_logits is not None:
            self.mean_logits[part] = scores.mean(dim=1)
        if self.is_top1 is not None:
            best = scores.argmax(dim=1, keepdim=True)
            self.is_top1[part] = (best == target)[:, 0]
            largest = scores.gather(1, best)
        else:
            largest = scores.amax(dim=1, keepdim=True)
        scores.sub_(largest)
        at_target = scores.gather(1, target)
        shifted = scores.clone() if self.entropy is not None else scores
        sums = scores.exp_().sum(dim=1, keepdim=True)
        log_sums = sums.log()
        self.log_probs[part] = (at_target - log_sums)[:, 0]
        if self.entropy is not None:
            self.entropy[part] = log_sums[:, 0] - torch.linalg.vecdot(scores, shifted) / sums[:, 0]
        if self.log_sum_sq is not None:
            self.log_sum_sq[part] = torch.linalg.vecdot(scores, scores).log() - 2 * log_sums[:, 0]
        return sums
