from pathlib import Path

import pytest

from llmops_assets.data.records import Message
from llmops_assets.data.tokens import TokenCounter, TokenizerNotFoundError, find_tokenizer_file, token_histogram


def test_counts_agree_with_the_tokenizer_in_both_ways(counter: TokenCounter) -> None:
    texts = ["Return the name.", "漢字 🙂", ""]
    assert counter.count_all(texts) == [counter.count(text) for text in texts]
    assert counter.count("🙂") == 4 and counter.count("") == 0


def test_conversation_counts_its_markers_as_one_token_each(counter: TokenCounter) -> None:
    tokens = counter.count_conversation([Message("user", "name")])
    assert tokens == 2 + counter.count("user\nname") + counter.count("\n")
    assert counter.special_tokens == ["<|endoftext|>", "<|im_end|>", "<|im_start|>"]


def test_histogram_bands_double_and_hold_every_row() -> None:
    assert token_histogram([1, 32, 33, 64, 65, 128, 129, 5000]) == {
        "1-32": 2,
        "33-64": 2,
        "65-128": 2,
        "129-256": 1,
        "4097-8192": 1,
    }


def test_missing_or_wrong_tokenizer_is_named(tmp_path: Path, tokenizer_file: Path) -> None:
    assert find_tokenizer_file(str(tokenizer_file.parent)) == tokenizer_file
    with pytest.raises(TokenizerNotFoundError, match=r"no tokenizer\.json"):
        find_tokenizer_file(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerNotFoundError, match=r"is not a tokenizer\.json"):
        TokenCounter(tmp_path / "tokenizer.json")


def test_hub_tokenizer_that_cannot_be_reached_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(TokenizerNotFoundError, match=r"nobody/nothing@abc.*HF_TOKEN"):
        find_tokenizer_file("nobody/nothing", "abc")
