"""Preference pairs as training rows, and the split that keeps some prompts sealed from training."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from llmops_assets.errors import LlmopsError
from llmops_assets.feedback.records import PreferencePair
from llmops_assets.feedback.text_identity import RowTurn, Turn, seal_key


class _Prompted(Protocol):
    @property
    def prompt(self) -> Sequence[Turn]: ...


Pair = TypeVar("Pair", bound=_Prompted)


def dpo_rows(pairs: Iterable[PreferencePair]) -> list[dict[str, Any]]:
    """Rows in TRL's conversational preference format: `prompt`, `chosen` and `rejected` are lists of messages."""
    return [
        {
            "prompt": [message.model_dump() for message in pair.prompt],
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
        }
        for pair in pairs
    ]


def sealed_split(pairs: Sequence[Pair], share: float, salt: str) -> tuple[list[Pair], list[Pair]]:
    """Split into (train, held out) by a hash of the prompt: about `share` of all prompts are held out, for ever.

    A prompt's side depends on nothing but what it asks (`seal_key`) and `salt`, so it cannot leak into training with
    a later vote, nor with another spelling.
    Raises `LlmopsError` unless 0 <= share < 1.
    """
    if not 0 <= share < 1:
        raise LlmopsError(f"held-out share {share}: use a number from 0 (nothing held out) to below 1.")
    train: list[Pair] = []
    held_out: list[Pair] = []
    for pair in pairs:
        digest = hashlib.sha256(f"{salt}\n{seal_key(pair.prompt)}".encode()).digest()
        position = int.from_bytes(digest[:8], "big") / 2**64
        (held_out if position < share else train).append(pair)
    return train, held_out


def sealed_prompts_in(train: Iterable[Mapping[str, Any]], sealed: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the last turns of `train` rows whose prompt asks what one of the `sealed` rows asks, in any spelling."""
    keys = {_row_key(row) for row in sealed}
    return [row["prompt"][-1]["content"] for row in train if _row_key(row) in keys]


def _row_key(row: Mapping[str, Any]) -> str:
    return seal_key(RowTurn.of(row["prompt"]))


def rater_kinds(pairs: Iterable[PreferencePair]) -> dict[str, int]:
    """How many pairs each kind of rater decided: what a set's manifest must say about real and simulated votes."""
    return dict(sorted(Counter(pair.rater_kind for pair in pairs).items()))
