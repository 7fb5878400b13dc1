"""Documents as rows of continued pre-training: tokenized whole, each ended by the document separator."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from llmops_assets.training.rows import read_rows, required_text

DOCUMENT_SEPARATOR = "<|endoftext|>"
_TEXTS_AT_ONCE = 1000


def document_rows(path: Path, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield `(source row, {"input_ids", "labels"})` per document, however long; every token carries loss.

    Raises BrokenRow.
    """
    separator = tokenizer.get_vocab().get(DOCUMENT_SEPARATOR, tokenizer.eos_token_id)
    rows = read_rows(path)
    while chunk := list(islice(rows, _TEXTS_AT_ONCE)):
        texts = [required_text(where, row, "text") for where, row in chunk]
        tokenized: Any = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        for (_, row), ids in zip(chunk, tokenized, strict=True):
            ended = [*ids, separator]
            yield row, {"input_ids": ended, "labels": ended}
