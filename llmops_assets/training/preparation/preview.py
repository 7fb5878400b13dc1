"""Prepared rows as a person reads them: which tokens carry loss, and where one document ends in a packed row."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

IGNORED = -100
PREVIEW_FILE = "preview.md"
_EXAMPLES = 4
_SHOWN_TOKENS = 400


class Span(NamedTuple):
    """Neighbouring tokens of one kind, as text."""

    text: str
    trained: bool


def row_spans(tokenizer: PreTrainedTokenizerBase, row: Mapping[str, Any]) -> Iterator[tuple[str, list[Span]]]:
    """Yield `(title, spans)` for each sequence in a prepared row: one, one per packed document, or one per answer."""
    if "input_ids" in row:
        lengths = row.get("seq_lengths") or [len(row["input_ids"])]
        start = 0
        for number, length in enumerate(lengths, start=1):
            title = f"{number} of {len(lengths)}" if len(lengths) > 1 else ""
            end = start + length
            yield (
                title,
                _spans(tokenizer, row["input_ids"][start:end], [x != IGNORED for x in row["labels"][start:end]]),
            )
            start = end
        return
    prompt = row["prompt_ids"]
    for name in ("chosen_ids", "rejected_ids", "completion_ids"):
        if name in row:
            title = name.removesuffix("_ids") if name != "completion_ids" else ("up" if row["label"] else "down")
            trained = [False] * len(prompt) + [True] * len(row[name])
            yield title, _spans(tokenizer, [*prompt, *row[name]], trained)


def preview_markdown(tokenizer: PreTrainedTokenizerBase, rows: Dataset, stage: str) -> str:
    """Return the first rows as Markdown in which the tokens with loss are bold, for an asset's page."""
    lines = [f"First rows of {len(rows)} ({stage}); tokens with loss are bold."]
    for number, row in enumerate(islice(rows, _EXAMPLES), start=1):
        assert isinstance(row, dict)
        for title, spans in row_spans(tokenizer, row):
            rendered = " ".join(f"**`{_inline(s.text)}`**" if s.trained else f"`{_inline(s.text)}`" for s in spans)
            lines.append(f"{number}. {title + ': ' if title else ''}{rendered}")
    return "\n\n".join(lines) + "\n"


def _spans(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], trained: Sequence[bool]) -> list[Span]:
    pairs = list(zip(ids, trained, strict=True))[:_SHOWN_TOKENS]
    spans = [
        Span(str(tokenizer.decode([token for token, _ in group])), carries_loss)
        for carries_loss, group in groupby(pairs, key=lambda pair: pair[1])
    ]
    return spans if len(ids) <= _SHOWN_TOKENS else [*spans, Span(f"... {len(ids) - _SHOWN_TOKENS} more tokens", False)]


def _inline(text: str) -> str:
    return text.replace("\n", "⏎").replace("`", "'")
