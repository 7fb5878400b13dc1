"""Causal attention inside each document of a packed row, without a mask over pairs of tokens.

transformers' sdpa path for a packed row of T tokens builds a [T, T] mask and computes all T^2 scores; documents of
length n need n^2 each. Registered as attention implementation "segments".
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

SEGMENTS = "segments"

# The same tensor reaches every layer: its values are read, from a GPU if need be, once per forward pass.
_lengths_of: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def register_segment_attention() -> None:
    """Make `attn_implementation="segments"` known to transformers; a second call changes nothing."""
    AttentionInterface.register(SEGMENTS, segment_attention)
    AttentionMaskInterface.register(SEGMENTS, segment_mask)


def segment_mask(
    *,
    batch_size: int,
    q_length: int,
    kv_length: int,
    attention_mask: Tensor | None = None,
    allow_is_causal_skip: bool = True,
    local_size: int | None = None,
    use_vmap: bool = False,
    **kwargs: Any,
) -> Tensor | None:
    """Return None where `segment_attention` needs no mask, else the mask of sdpa: bool [batch, 1, queries, keys].

    None goes with one packed row, and with rows that are padded on the right: a real token never attends to what
    follows it, so causal attention alone gives it the same result, and padding carries no loss. Padding on the left,
    cached keys, sliding windows and masks with additions of the model's own take sdpa's mask.
    """
    whole = q_length == kv_length and local_size is None and not use_vmap
    if whole and attention_mask is None and batch_size == 1:
        return None
    if whole and attention_mask is not None and allow_is_causal_skip and _pads_on_the_right(attention_mask):
        return None
    return sdpa_mask(
        batch_size=batch_size,
        q_length=q_length,
        kv_length=kv_length,
        attention_mask=attention_mask,
        allow_is_causal_skip=allow_is_causal_skip,
        local_size=local_size,
        use_vmap=use_vmap,
        **kwargs,
    )


@torch.compiler.disable
def segment_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Run scaled_dot_product_attention once per document of a packed row; anything else goes to sdpa's own path.

    query: [1, heads, T, size]; key, value: [1, key_value_heads, T, size]; result: [1, T, heads, size]. Documents are
    told by `cu_seq_lens_q` (int [documents + 1], 0 first and T last), else by where `position_ids` ([1, T]) start anew.

    Kept out of torch.compile: its sizes change with every row, each new one would be compiled.
    """
    lengths = None if attention_mask is not None else _document_lengths(query, key, **kwargs)
    if lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    documents = (tensor.split(lengths, dim=2) for tensor in (query, key, value))
    outputs = [
        nn.functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
        )
        for q, k, v in zip(*documents, strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def _document_lengths(
    query: Tensor,
    key: Tensor,
    cu_seq_lens_q: Tensor | None = None,
    position_ids: Tensor | None = None,
    **_: object,
) -> list[int] | None:
    """Return the documents' lengths if there are several of them in one row whose keys are its own."""
    if query.shape[0] != 1 or query.shape[2] != key.shape[2]:
        return None
    told_by = position_ids if cu_seq_lens_q is None else cu_seq_lens_q
    if told_by is None:
        return None
    lengths = _lengths_of.get(told_by)
    if lengths is None:
        lengths = _lengths_by_positions(told_by) if cu_seq_lens_q is None else cu_seq_lens_q.diff().tolist()
        _lengths_of[told_by] = lengths
    return lengths if len(lengths) > 1 else None


def _lengths_by_positions(position_ids: Tensor) -> list[int]:
    starts = (position_ids[0].diff() != 1).nonzero().flatten() + 1
    return torch.cat([starts.new_zeros(1), starts, starts.new_tensor([position_ids.shape[-1]])]).diff().tolist()


def _pads_on_the_right(attention_mask: Tensor) -> bool:
    real = attention_mask.bool()
    return bool((real[:, :1].all() & (real[:, :-1] >= real[:, 1:]).all()).item())
