"""A LoRA linear layer as one autograd function, where PEFT runs seven operations and keeps what they leave.

PEFT computes `base(x) + lora_B(lora_A(x)) * scaling`: it casts a bfloat16 input to the float32 of the LoRA, keeps that
copy, and makes three tensors of the size of the output. Here the LoRA is accumulated into the output of the base by the
matrix product itself, and only `x` and `x A^T` are kept for the backward pass.
"""

from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable


def fuse_lora(model: PeftModel) -> int:
    """Make every LoRA over a plain `torch.nn.Linear` compute in one autograd function; return how many there are.

    A layer goes on computing as PEFT does in each call where its result would not be the sum of a frozen linear layer
    and one LoRA: adapters disabled, merged, mixed in a batch, several active or none, with dropout, as DoRA or another
    variant, over weights that ZeRO-3 holds in shards, or in a precision that differs from the base weights'.
    Parameters, names and hooks of parameters stay as they are, so checkpoints, DDP and ZeRO see no difference.
    """
    layers = [
        module
        for module in model.modules()
        if type(module) is LoraLinear and type(module.get_base_layer()) is nn.Linear
    ]
    for layer in layers:
        layer.__class__ = FusedLoraLinear
    return len(layers)


class FusedLoraLinear(LoraLinear):
    """PEFT's layer with its commonest case fused (LoRA: Hu et al. 2021, arXiv 2106.09685)."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return `x W^T + b + scaling * (x A^T) B^T`; x: [..., inputs], result: [..., outputs]."""
        adapter = None if args or kwargs else self._only_adapter()
        dtype = _compute_dtype(x)
        if adapter is None or not self._is_plain_sum(adapter, x, dtype):
            return super().forward(x, *args, **kwargs)
        base = self.base_layer
        return _FusedLora.apply(
            x.to(dtype),
            base.weight,
            base.bias,
            self.lora_A[adapter].weight.to(dtype),
            self.lora_B[adapter].weight.to(dtype),
            self.scaling[adapter],
        )

    def _only_adapter(self) -> str | None:
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return None
        adapter = self.active_adapters[0]
        return adapter if adapter in self.lora_A and adapter not in self.lora_variant else None

    def _is_plain_sum(self, adapter: str, x: Tensor, dtype: torch.dtype) -> bool:
        dropout, a, b = self.lora_dropout[adapter], self.lora_A[adapter], self.lora_B[adapter]
        if (dropout.training and not isinstance(dropout, nn.Identity)) or b.bias is not None:
            return False
        base, trained = self.base_layer, (a.weight, b.weight)
        frozen = (base.weight,) if base.bias is None else (base.weight, base.bias)
        # Without autocast, PEFT computes a float32 LoRA over a bfloat16 base in float32.
        same_dtype = torch.is_autocast_enabled(x.device.type) or all(weight.dtype == dtype for weight in trained)
        return (
            same_dtype
            and all(weight.dtype == dtype and not weight.requires_grad for weight in frozen)
            # DeepSpeed marks the parameters of ZeRO-3; their shards are gathered by hooks of modules not called here.
            and not any(hasattr(weight, "ds_id") for weight in (*frozen, *trained))
            and not any(module._forward_hooks or module._forward_pre_hooks for module in (base, a, b))
        )


class _FusedLora(torch.autograd.Function):
    """y = x W^T + b + s (x A^T) B^T with W and b frozen.

    x: [..., inputs], W: [outputs, inputs], b: [outputs], A: [r, inputs], B: [outputs, r], all of one dtype.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        output = nn.functional.linear(rows, weight, bias)
        projected = rows @ a.t()
        output.addmm_(projected, b.t(), alpha=scaling)
        ctx.save_for_backward(rows, projected, weight, a, b)
        ctx.scaling, ctx.shape = scaling, x.shape  # pyright: ignore[reportAttributeAccessIssue]
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, projected, weight, a, b = ctx.saved_tensors
        scaling: float = ctx.scaling
        gradient = gradients[0].reshape(-1, gradients[0].shape[-1])
        into_x, _, _, into_a, into_b, _ = ctx.needs_input_grad
        grad_x = grad_a = grad_b = None
        if into_x or into_a:
            grad_projected = (gradient @ b).mul_(scaling)
            if into_x:
                grad_x = (gradient @ weight).addmm_(grad_projected, a).view(ctx.shape)
            if into_a:
                grad_a = grad_projected.t() @ rows
        if into_b:
            # Scaled before the product, whose result is then rounded to bfloat16 once.
            grad_b = gradient.t() @ (projected * scaling)
        return grad_x, None, None, grad_a, grad_b, None


def _compute_dtype(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
