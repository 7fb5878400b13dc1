"""Asks a generator through the cache and within a budget, and keeps the accounts of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmops_assets.data.generation.requests import ChatRequest, Completion, Generator
from llmops_assets.data.generation.response_cache import ResponseCache


@dataclass(slots=True)
class Spent:
    """What a build took. It is the same for a build that found every response in the cache."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    responses_with_estimated_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Asker:
    """The way from a pipeline to its generator. `sent` and `from_cache` say where responses came from this time."""

    def __init__(
        self, generator: Generator, cache: ResponseCache, *, max_requests: int, max_tokens: int | None
    ) -> None:
        self.spent = Spent()
        self.sent = 0
        self.from_cache = 0
        self._generator = generator
        self._cache = cache
        self._max_requests = max_requests
        self._max_tokens = max_tokens
        self._times: Counter[str] = Counter()

    @property
    def exhausted(self) -> str | None:
        """Which budget is used up, as a sentence; None while there is some left."""
        if self.spent.requests >= self._max_requests:
            return f"the budget of max_requests = {self._max_requests} is used up"
        if self._max_tokens is not None and self.spent.tokens >= self._max_tokens:
            return f"{self.spent.tokens} tokens are used, and max_tokens is {self._max_tokens}"
        return None

    def ask(self, requests: Sequence[ChatRequest]) -> list[Completion]:
        """Return the completions in the order of `requests`; fewer, from the first on, where the budget ends.

        Equal requests of one build are told apart by their attempt. Budgets count responses from the cache too, so that
        a build that is repeated or resumed takes the same decisions as one that asked for all of them.
        """
        room = 0 if self.exhausted else self._max_requests - self.spent.requests
        asked = [self._numbered(request) for request in requests[:room]]
        keys = [request.key(self._generator.identity) for request in asked]
        found = {index: hit for index, key in enumerate(keys) if (hit := self._cache.get(key)) is not None}
        self.from_cache += len(found)
        missing = [index for index in range(len(asked)) if index not in found]
        if missing:
            for place, completion in self._generator.complete([asked[index] for index in missing]):
                index = missing[place]
                self._cache.put(keys[index], self._generator.identity, asked[index], completion)
                self.sent += 1
                found[index] = completion
        completions = [found[index] for index in range(len(asked))]
        for completion in completions:
            self.spent.requests += 1
            self.spent.prompt_tokens += completion.prompt_tokens
            self.spent.completion_tokens += completion.completion_tokens
            self.spent.responses_with_estimated_tokens += completion.estimated
        return completions

    def _numbered(self, request: ChatRequest) -> ChatRequest:
        key = request.key("")
        self._times[key] += 1
        return replace(request, attempt=self._times[key] - 1)
