"""The rows of a DPO micro batch one after another in one row, without padding, under TRL's own loss and metrics.

TRL's trainer reads and writes padded rows [2 * pairs, tokens]: chosen answers first, then rejected ones. What lies
between, the fused forward of its model, is replaced here: tokens go through the model once, packed into one row, only
those before a labelled token reach the LM head, and the head's outputs go back to where TRL expects them.
"""

import functools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

IGNORED_LABEL = -100


@dataclass(frozen=True)
class PackedRow:
    """The tokens of a padded batch [rows, length] as one row of N tokens.

    `input_ids` and `position_ids` have shape [1, N]. `places` [rows, length] is the place in that row of each token;
    what it holds for padding is not read. `attention` are the keyword arguments that keep tokens apart which are not of
    one text; the model hands them on to its attention function.
    """

    input_ids: Tensor
    position_ids: Tensor
    places: Tensor
    attention: dict[str, Any]


Packing = Callable[[Tensor, Tensor], PackedRow]


def without_padding(input_ids: Tensor, attention_mask: Tensor) -> PackedRow:
    """Put the rows of a padded batch behind each other; both arguments have shape [rows, length].

    Positions start again at 0 in each row of the batch. From that eager, sdpa and flex attention tell the rows apart,
    with a mask over all pairs of tokens; flash attention and `segments` read the lengths, and need no mask.
    """
    attended = attention_mask.bool()
    lengths = attended.sum(dim=1)
    bounds = nn.functional.pad(lengths.cumsum(dim=0), (1, 0)).to(torch.int32)
    longest = int(lengths.max())
    return PackedRow(
        input_ids=input_ids[attended][None],
        position_ids=positions(attended)[attended][None],
        places=(attended.flatten().cumsum(dim=0) - 1).view_as(attended),
        attention={
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": longest,
            "max_length_k": longest,
        },
    )


def positions(attended: Tensor) -> Tensor:
    """Return the position of each token in its own row, [rows, length]; what padding gets is not read."""
    return attended.long().cumsum(dim=1) - 1


def run_packed(core: PreTrainedModel, packing: Packing) -> None:
    """Let `core(..., fused_lm_head=True)` run on the one row that `packing` makes of its padded rows.

    `core` is the causal language model itself, under PEFT, DDP or DeepSpeed wrappers, so that all their hooks fire; it
    has TRL's fused head already (`add_fused_lm_head`). Its output keeps TRL's shape [rows, length - 1]. Calls without
    `fused_lm_head`, such as those of `generate`, are left alone.
    """
    fused_forward = core.forward

    @functools.wraps(type(core).forward)  # `generate` checks its arguments against this signature
    def forward(self: PreTrainedModel, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return fused_forward(*args, **kwargs)
        input_ids, attention_mask, labels = (kwargs.pop(key) for key in ("input_ids", "attention_mask", "labels"))
        row = packing(input_ids, attention_mask)
        labels = labels[:, 1:]
        labelled = labels != IGNORED_LABEL
        with _only(self.base_model, row.places[:, :-1][labelled]):
            output = fused_forward(
                input_ids=row.input_ids,
                position_ids=row.position_ids,
                shift_labels=labels[labelled][None],
                fused_lm_head=True,
                **row.attention,
                **kwargs,
            )
        return _padded(output, labelled)

    core.forward = types.MethodType(forward, core)


@contextmanager
def _only(backbone: nn.Module, places: Tensor) -> Iterator[None]:
    """Within the block, the backbone returns the hidden states of `places` alone, in their order."""

    def select(_: nn.Module, __: tuple, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state.index_select(1, places)
        return output

    handle = backbone.register_forward_hook(select)
    try:
        yield
    finally:
        handle.remove()


def _padded(output: FusedCausalLMOutput, labelled: Tensor) -> FusedCausalLMOutput:
    """Scatter each per-token output [1, labels] to `labelled` [rows, length - 1]; zero elsewhere, as TRL has it."""
    per_token = {
        field.name: value.new_zeros(labelled.shape).masked_scatter(labelled, value)
        for field in fields(output)
        if (value := getattr(output, field.name)) is not None and field.name not in ("loss", "aux_loss", "label_mask")
    }
    return FusedCausalLMOutput(loss=output.loss, aux_loss=output.aux_loss, label_mask=labelled, **per_token)
