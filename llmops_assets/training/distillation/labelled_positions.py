"""Where a recording and a trainer look: the positions of prepared rows whose next token carries loss."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

IGNORED = -100


@dataclass(frozen=True)
class Document:
    """One of the documents that a row holds, with the labelled positions that another token precedes."""

    ids: list[int]
    labelled: list[int]


def documents_of(row: Mapping[str, Any]) -> list[Document]:
    """Return the documents of a prepared row: one, or those that `seq_lengths` says were packed into it.

    The first token of a document is predicted from nothing; trainers take no loss there either.
    """
    ids, labels = row["input_ids"], row["labels"]
    documents, begin = [], 0
    for length in row.get("seq_lengths") or [len(ids)]:
        end = begin + length
        labelled = [at - begin for at in range(begin + 1, end) if labels[at] != IGNORED]
        documents.append(Document(ids[begin:end], labelled))
        begin = end
    return documents


def states_before_labels(
    backbone: Any, batch: Sequence[Document], device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield for each document its n labels [n] and the last hidden states [n, H] that predict them, in one forward.

    Documents are padded on the right, where causal attention keeps the padding out of every position that is read.
    """
    ids = torch.zeros(len(batch), max(len(document.ids) for document in batch), dtype=torch.long)
    for row, document in enumerate(batch):
        ids[row, : len(document.ids)] = torch.tensor(document.ids)
    ids = ids.to(device)
    hidden = backbone(input_ids=ids, use_cache=False).last_hidden_state
    for row, document in enumerate(batch):
        positions = torch.tensor(document.labelled, dtype=torch.long, device=device)
        # What is read at position t - 1 predicts the token at t.
        yield ids[row, positions], hidden[row, positions - 1]
