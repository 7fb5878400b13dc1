"""From pretraining documents to fixed-length rows of token ids."""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from llmops_assets.training.pretraining_corpus import PretrainingDocument

CHAT_PERCENT = 3
_ENCODE_BATCH = 2_000

TokenRows = NDArray[np.uint16]


def pack_rows(
    documents: Sequence[PretrainingDocument], tokenizer: PreTrainedTokenizerBase, row_length: int, seed: int
) -> TokenRows:
    """Return contiguous rows of shape (rows, row_length) over the shuffled documents, each ended by the separator.

    `CHAT_PERCENT` of the API documents are laid out as a user turn (name and signature) and an assistant turn
    (docstring): a LoRA adapter cannot repair embedding rows of special tokens that pretraining has never seen. The last
    tokens that do not fill a row are left out; attention is not masked between the documents of a row.
    """
    order = random.Random(seed)
    texts = [_layout(document, tokenizer, order.randrange(100) < CHAT_PERCENT) for document in documents]
    order.shuffle(texts)
    separator = tokenizer.pad_token_id
    stream: list[NDArray[np.uint16]] = []
    for start in range(0, len(texts), _ENCODE_BATCH):
        encoded = tokenizer(texts[start : start + _ENCODE_BATCH], add_special_tokens=False, verbose=False)["input_ids"]
        stream.extend(np.asarray([*ids, separator], dtype=np.uint16) for ids in encoded)
    tokens = np.concatenate(stream)
    rows = len(tokens) // row_length
    return tokens[: rows * row_length].reshape(rows, row_length)


def row_order(rows: int, batch_rows: int, steps: int, seed: int) -> NDArray[np.int64]:
    """Return the rows of each step, shape (steps, batch_rows): every epoch is a fresh permutation of all rows."""
    generator = np.random.default_rng(seed)
    needed = steps * batch_rows
    epochs = [generator.permutation(rows) for _ in range(-(-needed // rows))]
    return np.concatenate(epochs)[:needed].reshape(steps, batch_rows)


def _layout(document: PretrainingDocument, tokenizer: PreTrainedTokenizerBase, as_chat: bool) -> str:
    if not (as_chat and document.head):
        return document.text
    turns = [{"role": "user", "content": document.head}, {"role": "assistant", "content": document.body}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False))
