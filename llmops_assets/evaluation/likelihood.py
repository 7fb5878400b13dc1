"""Log-likelihood of token spans in context, in padded batches: what perplexity and preferences have in common."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from llmops_assets.evaluation.model import Policy

# Elements of one logits tensor. On a CPU 16 MiB stays near the caches (25 % less time than 128 MiB); a GPU wants bulk.
LOGITS_PER_BATCH = {"cpu": 1 << 22, "cuda": 1 << 29}


@dataclass(frozen=True)
class Span:
    """Tokens of which those from `first` on are scored, each given all tokens before it."""

    ids: Sequence[int]
    first: int

    def __post_init__(self) -> None:
        if not 1 <= self.first < len(self.ids):
            raise ValueError(f"a span of {len(self.ids)} tokens cannot be scored from token {self.first} on")


@torch.inference_mode()
def span_nlls(policy: Policy, spans: Sequence[Span]) -> list[float]:
    """Summed negative log-likelihood of each span's scored tokens, in nats and in the order given.

    Rows are padded on the right, where causal attention keeps the padding out of every scored position, so that
    no mask is needed. The log-softmax is taken in float32 and summed in float64.
    """
    vocabulary = int(policy.model.config.vocab_size)
    nlls = [math.nan] * len(spans)
    for batch in _batches(spans, LOGITS_PER_BATCH[policy.device.type] // vocabulary):
        rows = [spans[index] for index in batch]
        length = max(len(row.ids) for row in rows)
        kept_from = min(row.first for row in rows)
        ids = torch.full((len(rows), length), policy.pad_id)
        targets = torch.full((len(rows), length), -100)
        for position, row in enumerate(rows):
            tokens = torch.tensor(row.ids)
            ids[position, : len(tokens)] = tokens
            targets[position, row.first : len(tokens)] = tokens[row.first :]
        # The logits at t - 1 predict token t, so that the last position is never read.
        logits = policy.model(
            input_ids=ids[:, :-1].to(policy.device), use_cache=False, logits_to_keep=length - kept_from
        ).logits
        losses = functional.cross_entropy(
            logits.float().flatten(0, 1), targets[:, kept_from:].flatten().to(policy.device), reduction="none"
        )
        for index, nll in zip(batch, losses.double().view(len(rows), -1).sum(dim=1).tolist(), strict=True):
            nlls[index] = nll
    return nlls


def _batches(spans: Sequence[Span], tokens_per_batch: int) -> Iterator[list[int]]:
    order = sorted(range(len(spans)), key=lambda index: (len(spans[index].ids), spans[index].first, index))
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * len(spans[index].ids) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
