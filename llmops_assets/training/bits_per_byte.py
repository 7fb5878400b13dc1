"""Held-out bits per byte: a figure for language models that does not depend on the tokenizer."""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BATCH_ROWS = 16


@torch.no_grad()
def bits_per_byte(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], window: int
) -> float:
    """Return the total negative log-likelihood of `texts` in bits, divided by their length in UTF-8 bytes.

    Each text is scored alone after the document separator, every token once, in consecutive windows of `window` tokens
    (a window sees nothing of the one before, so the figure is an upper bound). `texts` must not be empty.
    """
    rows: list[list[int]] = []
    for text in texts:
        ids = [tokenizer.pad_token_id, *tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]
        rows.extend(ids[start : start + window + 1] for start in range(0, len(ids) - 1, window))
    rows.sort(key=len)
    was_training = model.training
    model.eval()
    nats = 0.0
    for start in range(0, len(rows), _BATCH_ROWS):
        batch = rows[start : start + _BATCH_ROWS]
        width = max(map(len, batch))
        # Padding stands on the right, where causal attention keeps it from every scored token.
        inputs = torch.tensor([[*row, *[0] * (width - len(row))] for row in batch])
        targets = torch.tensor([[*row[1:], *[-100] * (width - len(row))] for row in batch])
        logits = model(input_ids=inputs[:, :-1], use_cache=False).logits.float()
        nats += functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
    model.train(was_training)
    return nats / math.log(2) / sum(len(text.encode("utf-8")) for text in texts)
