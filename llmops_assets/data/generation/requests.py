"""A request to a chat model, its completion, and the one thing that every generator can do."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from llmops_assets.data.generation.specs import SamplingSpec
from llmops_assets.data.records import Message, canonical_json

Finish = Literal["stop", "length", "refused", "no_room"]
"""`length`: cut by max_tokens. `refused`: withheld by a filter. `no_room`: the prompt fills the model's context."""
# Some templates put the opening tag into the prompt, so that an answer begins with thoughts that only end.
_REASONING = re.compile(r"\A(?:\s*<think>(?:.*?</think>|.*\Z)|(?:(?!<think>).)*?</think>)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a generator is asked. `attempt` tells equal requests of one build apart, so that each is a new draw."""

    messages: tuple[Message, ...]
    sampling: SamplingSpec
    seed: int
    attempt: int = 0

    def to_row(self) -> dict[str, Any]:
        """Return the request as JSON can hold it."""
        return {
            "messages": [message.to_row() for message in self.messages],
            "sampling": self.sampling.model_dump(),
            "seed": self.seed,
            "attempt": self.attempt,
        }

    def key(self, generator: str) -> str:
        """Return the sha256 (hex) of this request to the generator of that identity."""
        return hashlib.sha256(canonical_json([generator, self.to_row()]).encode()).hexdigest()

    @property
    def prompt_hash(self) -> str:
        """sha256 (hex) of the messages alone."""
        return hashlib.sha256(canonical_json(self.to_row()["messages"]).encode()).hexdigest()

    @property
    def drawing_seed(self) -> int:
        """A seed of 31 bits that depends on the whole request."""
        return int(self.key("seed")[:8], 16) >> 1


@dataclass(frozen=True, slots=True)
class Completion:
    """A response. Token counts are the generator's own, or `estimated` at four bytes a token where it gives none."""

    text: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    estimated: bool = False

    @property
    def answer(self) -> str:
        """The text without what a reasoning model thought before it; empty where it thought to the end."""
        return _REASONING.sub("", self.text)

    def to_row(self) -> dict[str, Any]:
        """Return the completion as JSON can hold it."""
        return asdict(self)


class Generator(Protocol):
    """Something that answers chat requests."""

    @property
    def identity(self) -> str:
        """Everything that its answers depend on beside the request, in one line; no secrets, no paths."""
        ...

    def complete(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Completion]]:
        """Yield (index of the request, completion) in any order, each as soon as it is there.

        Raises LlmopsError when it gives up; what was yielded before is kept.
        """
        ...
