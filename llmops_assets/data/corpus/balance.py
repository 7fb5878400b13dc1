"""Balances the sources of a corpus by their tokens: a temperature, and caps."""

import math

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.specs import CorpusSpec
from llmops_assets.errors import LlmopsError


class UnbalancedSourcesError(LlmopsError):
    """The sources cannot have shares such as the recipe asks for."""


def token_limits(tokens: dict[str, int], spec: CorpusSpec) -> dict[str, float]:
    """Return how many tokens each source may have, given those that it has; nothing is repeated to reach a share.

    Shares go by tokens ** (1 / source_temperature) (as in Conneau et al. 2020, arXiv 1911.02116), and the source
    that has the least for its share keeps all. Then come `max_source_tokens` and `max_source_share`.

    Raises UnbalancedSourcesError if there are too few sources for none to have more than `max_source_share`.
    """
    held = {name: count for name, count in tokens.items() if count}
    if not held:
        return dict.fromkeys(tokens, 0.0)
    weights = {name: count ** (1 / spec.source_temperature) for name, count in held.items()}
    scale = min(held[name] / weights[name] for name in held)
    limits = {name: scale * weight for name, weight in weights.items()}
    if spec.max_source_tokens is not None:
        limits = {name: min(limit, spec.max_source_tokens) for name, limit in limits.items()}
    if spec.max_source_share is not None:
        cap = _cap(sorted(limits.values(), reverse=True), spec.max_source_share)
        if cap is None:
            least = math.ceil(100 / len(held)) / 100
            raise UnbalancedSourcesError(
                f"corpus.max_source_share = {spec.max_source_share} cannot hold: {len(held)} sources have documents to "
                f"train on ({', '.join(held)}). Set it to {least:.2f} or more, or add sources"
            )
        limits = {name: min(limit, cap) for name, limit in limits.items()}
    return {name: limits.get(name, 0.0) for name in tokens}


def beyond_limit(tokens: NDArray[np.int64], lots: NDArray[np.float64], limit: float) -> NDArray[np.bool_]:
    """Return [documents]: which of one source to leave out, so that the others have at most `limit` tokens.

    Documents are taken in the order of their lots, which depend on their ids alone, and one that has no room is passed
    over.
    """
    beyond = np.zeros(len(tokens), bool)
    room = limit + 0.5
    for place in np.argsort(lots, kind="stable").tolist():
        beyond[place] = tokens[place] > room
        room -= 0 if beyond[place] else tokens[place]
    return beyond


def _cap(limits: list[float], share: float) -> float | None:
    """Return the most that a source may have so that none has more than `share` of all; None if there is no such."""
    for capped, limit in enumerate(limits):
        # The largest ones have the cap and the others what they have: cap = share * (capped * cap + the others).
        cap = share * sum(limits[capped:]) / (1 - share * capped)
        if limit <= cap * (1 + 1e-9):
            return cap
    return None
