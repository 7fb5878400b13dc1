"""The prompt of a preference pair computed once for both of its answers (Wang & Hegde 2024, arXiv 2410.20305).

A pair becomes `prefix | rest of chosen | rest of rejected`. The prefix is all that both texts begin with: the prompt,
and equal first tokens of the answers. The rest of the rejected text sees the prefix and itself, not the chosen text.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from llmops_assets.errors import LlmopsError
from llmops_assets.training.speed.padding_free_pairs import PackedRow, positions

ATTENTION = "shared_prefixes"


class PrefixNotSharable(LlmopsError):
    """The model's attention is not the causal one over all tokens that prefix sharing computes."""


@dataclass(frozen=True)
class SharedPrefixes:
    """Where the pairs of a packed row lie, and what the rejected answers see.

    `lengths` are (prefix, rest of chosen, rest of rejected) in tokens, pair after pair. `masks` [rest of rejected,
    prefix + rest of rejected] are true where the rest of a rejected text sees a token.
    """

    lengths: list[tuple[int, int, int]]
    masks: list[Tensor]


def with_shared_prefixes(input_ids: Tensor, attention_mask: Tensor) -> PackedRow:
    """Pack a padded batch [2 * pairs, length], chosen texts first, into one row that holds each common prefix once.

    A token of the prefix has one place, and one hidden state, for both texts: that of the last one predicts the first
    differing token of either.
    """
    attended = attention_mask.bool()
    chosen, rejected = attended.chunk(2)
    first, second = input_ids.chunk(2)
    prefixes = ((first == second) & chosen & rejected).long().cumprod(dim=1).sum(dim=1)
    chosen_rests, rejected_rests = chosen.sum(dim=1) - prefixes, rejected.sum(dim=1) - prefixes
    ends = (prefixes + chosen_rests + rejected_rests).cumsum(dim=0)
    starts = nn.functional.pad(ends[:-1], (1, 0))

    position = positions(attended)
    behind_chosen = (position.chunk(2)[1] >= prefixes[:, None]) * chosen_rests[:, None]
    places = position + starts.repeat(2)[:, None]
    places[len(starts) :] += behind_chosen

    lengths = torch.stack([prefixes, chosen_rests, rejected_rests], dim=1).tolist()
    taken = places[attended]
    shape = (1, sum(map(sum, lengths)))
    shared = SharedPrefixes(
        lengths=[tuple(pair) for pair in lengths],
        masks=[
            torch.ones(rest, prefix + rest, dtype=torch.bool, device=input_ids.device).tril(prefix)
            for prefix, _, rest in lengths
        ],
    )
    return PackedRow(
        input_ids=input_ids.new_zeros(shape).index_copy_(1, taken, input_ids[attended][None]),
        position_ids=position.new_zeros(shape).index_copy_(1, taken, position[attended][None]),
        places=places,
        # Any 4-D mask keeps transformers from building one over all pairs of tokens; the attention below reads none.
        attention={"shared_prefixes": shared, "attention_mask": attended.new_ones(1, 1, 1, 1)},
    )


def attend_to_shared_prefixes(core: PreTrainedModel) -> None:
    """Switch `core` to the attention of packed pairs; calls without packed pairs get sdpa.

    It is a call of sdpa per answer, on CPUs and GPUs alike, so no mask grows with the micro batch. On GPUs that suits
    texts of some thousand tokens; many short ones would rather want one FlexAttention kernel over a block mask.

    Raises PrefixNotSharable.
    """
    config = core.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or not core._supports_sdpa:
        raise PrefixNotSharable(
            f"batching: prefix_sharing does not know the attention of {type(core).__name__} "
            f"({', '.join(sorted(kinds))}); set batching: padding_free or padded"
        )
    AttentionInterface.register(ATTENTION, shared_prefix_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    core.set_attn_implementation(ATTENTION)


@torch.compiler.disable
def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    shared_prefixes: SharedPrefixes | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each text of a packed row; `query` is [1, heads, N, size], the result [1, N, heads, size].

    `key` and `value` may have fewer heads (grouped-query attention). A layout of pairs comes with the row, from
    `with_shared_prefixes`; other rows, such as those of `generate`, are sdpa's. Kept out of torch.compile, which would
    compile it anew for the lengths of each micro batch.
    """
    if shared_prefixes is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    sizes = [size for prefix, chosen, rejected in shared_prefixes.lengths for size in (prefix + chosen, rejected)]
    queries, keys, values = (states.split(sizes, dim=2) for states in (query, key, value))
    outputs = []
    for pair, (prefix, _, rejected) in enumerate(shared_prefixes.lengths):
        text, rest = 2 * pair, 2 * pair + 1
        outputs.append(sdpa_attention_forward(module, queries[text], keys[text], values[text], None, **kwargs)[0])
        if rejected:
            seen, held = (torch.cat([s[text][:, :, :prefix], s[rest]], dim=2) for s in (keys, values))
            mask = shared_prefixes.masks[pair][None, None]
            outputs.append(sdpa_attention_forward(module, queries[rest], seen, held, mask, **kwargs)[0])
    return torch.cat(outputs, dim=1), None
