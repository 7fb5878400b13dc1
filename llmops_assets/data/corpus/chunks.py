"""The stage that cuts documents into the rows that are trained on and evaluated with, and counts their tokens."""

import json
from dataclasses import dataclass

from llmops_assets.data.chunking import chunk, overlapping
from llmops_assets.data.tokens import TokenCounter


@dataclass(frozen=True)
class Chunked:
    """The rows of one document, as lines of train.jsonl or heldout.jsonl, and how many tokens each has."""

    number: int
    lines: list[bytes]
    tokens: list[int]


@dataclass(frozen=True)
class Chunking:
    """Cuts batches of (number, is held out, line of documents.jsonl). Held-out documents stay whole."""

    counter: TokenCounter
    limit: int
    overlap: int

    def __call__(self, batch: list[tuple[int, bool, bytes]]) -> list[Chunked]:
        documents = [(number, is_heldout, json.loads(line)) for number, is_heldout, line in batch]
        counts = self.counter.count_all([document["text"] for _, _, document in documents])
        pieces = [
            [document["text"]] if is_heldout or tokens <= self.limit else self._cut(document["text"])
            for (_, is_heldout, document), tokens in zip(documents, counts, strict=True)
        ]
        cut = [text for of_one in pieces if len(of_one) > 1 for text in of_one]
        counts_of_cut = iter(self.counter.count_all(cut))
        chunked: list[Chunked] = []
        for (number, _, document), tokens, texts in zip(documents, counts, pieces, strict=True):
            each = [tokens] if len(texts) == 1 else [next(counts_of_cut) for _ in texts]
            chunked.append(Chunked(number, _lines(document, texts, each), each))
        return chunked

    def _cut(self, text: str) -> list[str]:
        pieces = chunk(text, self.limit - self.overlap, self.counter)
        return overlapping(pieces, self.overlap, self.limit, self.counter) if self.overlap else pieces


def _lines(document: dict[str, str], texts: list[str], tokens: list[int]) -> list[bytes]:
    lines: list[bytes] = []
    for place, (text, count) in enumerate(zip(texts, tokens, strict=True), start=1):
        row = {
            "id": document["id"] if len(texts) == 1 else f"{document['id']}~{place}",
            "text": text,
            "source": document["source"],
            "origin": document["origin"],
            "group": document["group"],
            "tokens": count,
        }
        lines.append(json.dumps(row, ensure_ascii=False).encode("utf-8"))
    return lines
