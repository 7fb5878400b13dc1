"""Cache and budget: a response is paid for once, and a repeated build takes the same decisions."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from llmops_assets.data.generation.asking import Asker
from llmops_assets.data.generation.requests import ChatRequest, Completion
from llmops_assets.data.generation.response_cache import ResponseCache
from llmops_assets.data.generation.specs import SamplingSpec
from llmops_assets.data.records import Message
from llmops_assets.errors import LlmopsError


class Backwards:
    """Answers the last request first, and gives up after `patience` answers."""

    identity = "backwards"

    def __init__(self, patience: int = 1000) -> None:
        self.answered = 0
        self._patience = patience

    def complete(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Completion]]:
        for index in reversed(range(len(requests))):
            if self.answered == self._patience:
                raise LlmopsError("gives up")
            self.answered += 1
            text = f"{requests[index].messages[0].content}, attempt {requests[index].attempt}"
            yield index, Completion(text, "stop", 10, 5)


def requests(*texts: str) -> list[ChatRequest]:
    return [ChatRequest((Message("user", text),), SamplingSpec(), seed=7) for text in texts]


def asker(folder: Path, generator: Backwards, max_requests: int = 100, max_tokens: int | None = None) -> Asker:
    return Asker(generator, ResponseCache(folder), max_requests=max_requests, max_tokens=max_tokens)


def test_completions_come_in_the_order_of_requests_and_from_the_cache_the_second_time(tmp_path: Path) -> None:
    first, second = asker(tmp_path, Backwards()), asker(tmp_path, Backwards(patience=0))
    asked = requests("a", "b", "c")
    assert [each.text for each in first.ask(asked)] == ["a, attempt 0", "b, attempt 0", "c, attempt 0"]
    assert second.ask(asked) == asker(tmp_path, Backwards(patience=0)).ask(asked)
    assert (first.sent, first.from_cache, second.sent, second.from_cache) == (3, 0, 0, 3)
    assert first.spent == second.spent


def test_equal_requests_of_one_build_are_different_draws(tmp_path: Path) -> None:
    asked = requests("a", "a")
    texts = [completion.text for _ in range(2) for completion in asker(tmp_path, Backwards()).ask(asked)]
    assert texts == ["a, attempt 0", "a, attempt 1"] * 2
    one, other = requests("a")[0], ChatRequest((Message("user", "a"),), SamplingSpec(), seed=7, attempt=1)
    assert one.drawing_seed != other.drawing_seed


def test_a_build_that_broke_off_asks_for_what_is_missing_alone(tmp_path: Path) -> None:
    asked = requests("a", "b", "c", "d")
    with pytest.raises(LlmopsError, match="gives up"):
        asker(tmp_path, Backwards(patience=3)).ask(asked)
    resumed = asker(tmp_path, Backwards(patience=1))
    assert [each.text[0] for each in resumed.ask(asked)] == ["a", "b", "c", "d"]
    assert (resumed.sent, resumed.from_cache) == (1, 3)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>1. No,\n2. yes.</think>\n\nyes", "yes"),
        ("<think>1. No, max_tokens", ""),
        ("A <think> tag.", "A <think> tag."),
        ("Does it? No.\n</think>\n\nyes", "yes"),
        ("Tags are <think> and </think>.", "Tags are <think> and </think>."),
    ],
)
def test_what_a_reasoning_model_thinks_is_no_part_of_its_answer(text: str, answer: str) -> None:
    assert Completion(text, "stop", 1, 1).answer == answer


@pytest.mark.parametrize("torn", [b"", b"{", b'{"completion": {"text": 1}}', b"\xff"])
def test_a_torn_cache_file_is_asked_for_again(tmp_path: Path, torn: bytes) -> None:
    asker(tmp_path, Backwards()).ask(requests("a"))
    (file,) = tmp_path.rglob("*.json")
    whole = file.read_bytes()
    file.write_bytes(torn)
    again = asker(tmp_path, Backwards())
    assert again.ask(requests("a"))[0].text == "a, attempt 0" and again.sent == 1
    assert file.read_bytes() == whole


@pytest.mark.parametrize("change", ["text", "sampling", "seed"])
def test_another_text_setting_or_seed_is_another_request(tmp_path: Path, change: str) -> None:
    asker(tmp_path, Backwards()).ask(requests("a"))
    text = "b" if change == "text" else "a"
    sampling = SamplingSpec(temperature=0.5) if change == "sampling" else SamplingSpec()
    other = asker(tmp_path, Backwards())
    other.ask([ChatRequest((Message("user", text),), sampling, seed=8 if change == "seed" else 7)])
    assert other.sent == 1


def test_the_budget_ends_within_a_batch_and_counts_the_cache_too(tmp_path: Path) -> None:
    for _ in range(2):
        limited = asker(tmp_path, Backwards(), max_requests=3)
        assert len(limited.ask(requests("a", "b"))) == 2
        assert limited.exhausted is None
        assert [each.text[0] for each in limited.ask(requests("c", "d"))] == ["c"]
        assert limited.exhausted == "the budget of max_requests = 3 is used up"
        assert limited.ask(requests("e")) == []


def test_a_budget_of_tokens_ends_after_the_batch_that_uses_it_up(tmp_path: Path) -> None:
    limited = asker(tmp_path, Backwards(), max_tokens=20)
    limited.ask(requests("a", "b"))
    assert limited.exhausted == "30 tokens are used, and max_tokens is 20"
    assert limited.ask(requests("c")) == []


def test_cached_prompts_are_closed_to_other_users(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o755)
    request = ChatRequest((Message("user", "private"),), SamplingSpec(), seed=7)
    ResponseCache(folder).put("abcd", "m", request, Completion("fine", "stop", 1, 1))
    assert folder.stat().st_mode & 0o777 == 0o700
