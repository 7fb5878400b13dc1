"""How the pairs of a DPO micro batch pass the model, for the trainer and for the reference log-probs alike."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.utils import add_fused_lm_head

from llmops_assets.training.speed.padding_free_pairs import IGNORED_LABEL, run_packed, without_padding
from llmops_assets.training.speed.prefix_sharing import (
    PrefixNotSharable,
    attend_to_shared_prefixes,
    with_shared_prefixes,
)

PairBatching = Literal["padded", "padding_free", "prefix_sharing"]


def batch_pairs(trainer: DPOTrainer, batching: PairBatching) -> None:
    """Let the trainer's micro batches pass its model as `batching` says; call it once, before `trainer.train`.

    Losses and metrics stay TRL's own, and equal to those of padded rows up to rounding. `num_tokens` counts what it
    counts there: the tokens of both texts of a pair, without padding.

    Raises PrefixNotSharable.
    """
    assert trainer.model is not None
    if batching == "prefix_sharing" and trainer.aux_loss_enabled:
        raise PrefixNotSharable(
            "batching: prefix_sharing would weigh prompts half in the load-balancing loss of this mixture of experts; "
            "set batching: padding_free or padded"
        )
    _arrange(_causal_lm(trainer.model), batching)


def pair_scorer(model: PreTrainedModel | PeftModel, batching: PairBatching) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """Return a function from a batch of TRL's DataCollatorForPreference to its summed log-probs [2, pairs], in nats.

    Row 0 holds the chosen answers, row 1 the rejected ones. Give it a model that no trainer holds, in eval mode and on
    the device of the batches, and call it under the autocast that the trainer will use: then a policy that equals the
    reference starts with a margin of 0.

    Raises PrefixNotSharable.
    """
    core = _causal_lm(model)
    add_fused_lm_head(core)
    _arrange(core, batching)

    @torch.no_grad()
    def score(batch: Mapping[str, Tensor]) -> Tensor:
        input_ids, attention_mask = batch["input_ids"], batch["attention_mask"]
        labels = input_ids.masked_fill(batch["completion_mask"] == 0, IGNORED_LABEL)
        output = model(
            input_ids=input_ids, attention_mask=attention_mask, labels=labels, use_cache=False, fused_lm_head=True
        )
        return output.log_probs.sum(dim=1).view(2, -1)

    return score


def _arrange(core: PreTrainedModel, batching: PairBatching) -> None:
    if batching == "padding_free":
        run_packed(core, without_padding)
    elif batching == "prefix_sharing":
        attend_to_shared_prefixes(core)
        run_packed(core, with_shared_prefixes)


def _causal_lm(model: object) -> PreTrainedModel:
    core = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(core, PreTrainedModel)
    return core
