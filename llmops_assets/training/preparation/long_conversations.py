"""What becomes of a conversation that is longer than a row: never a cut answer."""

from collections.abc import Callable, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from llmops_assets.errors import LlmopsError

Message = dict[str, Any]
Length = Callable[[Sequence[Message]], int]


class RowTooLong(LlmopsError):
    """A row is longer than max_length and `long_rows: error` asks to say so."""


def without_last_turns(messages: Sequence[Message], length: Length, max_length: int) -> list[Message] | None:
    """Return the longest beginning of a conversation that fits and ends with an assistant turn; None if none does."""
    kept = list(messages[:-1])
    while kept:
        if kept[-1]["role"] == "assistant" and length(kept) <= max_length:
            return kept
        kept.pop()
    return None


def with_cut_prompt(
    messages: Sequence[Message], length: Length, max_length: int, tokenizer: PreTrainedTokenizerBase
) -> list[Message] | None:
    """Return the conversation without the beginning of its first user message, as much of it as fits.

    Every answer stays whole. None if not even the last token of that message fits, for an empty question is none; and
    if there is no user message.
    """
    first = next((i for i, message in enumerate(messages) if message["role"] == "user"), None)
    if first is None:
        return None
    ids = tokenizer(messages[first]["content"], add_special_tokens=False, verbose=False)["input_ids"]
    assert isinstance(ids, list)
    while ids:
        # A cut may fall inside a character; and it changes how neighbours are tokenized, so the result is measured.
        shorter = _with_content(messages, first, str(tokenizer.decode(ids)).lstrip("\ufffd"))
        over = length(shorter) - max_length
        if over <= 0:
            return shorter
        ids = ids[over:]
    return None


def _with_content(messages: Sequence[Message], index: int, content: str) -> list[Message]:
    return [{**message, "content": content} if i == index else message for i, message in enumerate(messages)]
