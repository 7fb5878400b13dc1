"""Muon for the hidden matrices with AdamW for the rest, and the warmup-stable-decay schedule."""

from typing import Any

import torch
from torch import nn


class PretrainingOptimizer:
    """Two optimizers behind one step: Muon for two-dimensional hidden weights, AdamW for embeddings, norms and biases.

    Muon orthogonalizes the momentum of each matrix (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon); its
    update is scaled to the RMS of AdamW's (Liu et al. 2025, arXiv:2502.16982), so that both share one learning rate.
    """

    def __init__(self, model: nn.Module, weight_decay: float) -> None:
        hidden, embeddings, vectors = [], [], []
        for name, parameter in model.named_parameters():
            if parameter.ndim != 2:
                vectors.append(parameter)
            elif "embed" in name:
                embeddings.append(parameter)
            else:
                hidden.append(parameter)
        self._parameters = [*hidden, *embeddings, *vectors]
        self._muon = torch.optim.Muon(hidden, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self._adamw = torch.optim.AdamW(
            [{"params": embeddings, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            betas=(0.9, 0.95),
        )

    def step(self, learning_rate: float) -> None:
        """Clip the gradient's global norm to 1, apply both updates at `learning_rate`, and clear the gradients."""
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimizer in (self._muon, self._adamw):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both optimizers."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._muon.load_state_dict(state["muon"])
        self._adamw.load_state_dict(state["adamw"])


def warmup_stable_decay(step: int, steps: int, warmup_steps: int, decay_steps: int) -> float:
    """Return the share of the peak learning rate at 0-based `step`: linear warmup, plateau, linear decay towards zero.

    The schedule of Hu et al. 2024 (MiniCPM, arXiv:2404.06395), with a linear decay.
    """
    warmup = (step + 1) / warmup_steps if warmup_steps else 1.0
    decay = (steps - step) / decay_steps if decay_steps else 1.0
    return max(0.0, min(1.0, warmup, decay))
