"""What a training split and a held-out split have in common: records, groups, texts, and long runs of words."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_assets.data.normalize import comparison_key

RUN_WORDS = 13
CONTAINED_SHARE = 0.5
_SHORTEST_TELLING_ANSWER = 8


@dataclass(frozen=True, slots=True)
class Overlap:
    """Something that a held-out row shares with a training row.

    `kind` is id, group, text, question, answer or contained.
    """

    kind: str
    heldout_id: str
    train_id: str
    detail: str


def contained_shares(texts: Sequence[str], train: Iterable[str]) -> list[float]:
    """Return for each text the share of its runs of 13 words that occur in `train` (GPT-3, arXiv 2005.14165)."""
    # numpy is for those who build, not for the code location, which imports this module.
    import numpy as np

    from llmops_assets.data.shingles import share_in, shingle_hashes

    seen = [np.unique(batch.hashes) for batch in shingle_hashes(train, RUN_WORDS)]
    known = np.unique(np.concatenate(seen)) if seen else np.zeros(0, np.uint64)
    batches = shingle_hashes(texts, RUN_WORDS)
    return [share_in(known, batch.of(index)) for batch in batches for index in range(len(batch))]


def overlap(train: Path, heldout: Path) -> list[Overlap]:
    """Return what the rows of `heldout` share with those of `train`; an empty list is a clean split.

    Both are JSON Lines of one kind: texts (`text`) or conversations (`messages`). Found are equal ids, equal groups,
    equal texts and first questions, held-out last answers that train gives in any turn (case and white space folded),
    and held-out texts of which half or more is contained in train.
    """
    train_rows, heldout_rows = _rows(train), _rows(heldout)
    found: list[Overlap] = []
    index: dict[tuple[str, str], str] = {}
    for row in train_rows:
        for kind, value in _features(row, scored_only=False):
            index.setdefault((kind, value), row["id"])
    for row in heldout_rows:
        for kind, value in _features(row, scored_only=True):
            if (kind, value) in index:
                found.append(Overlap(kind, row["id"], index[kind, value], value[:120]))
    texts = [row["text"] for row in heldout_rows if "text" in row]
    shares = contained_shares(texts, (row["text"] for row in train_rows if "text" in row))
    for row, share in zip((row for row in heldout_rows if "text" in row), shares, strict=True):
        if share >= CONTAINED_SHARE:
            found.append(Overlap("contained", row["id"], "", f"{share:.0%} of its runs of {RUN_WORDS} words"))
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def _features(row: dict[str, Any], *, scored_only: bool) -> list[tuple[str, str]]:
    features = [("id", row["id"]), ("group", row["group"])]
    if "text" in row:
        return [*features, ("text", comparison_key(row["text"]))]
    question = next(turn["content"] for turn in row["messages"] if turn["role"] == "user")
    answers = [turn["content"] for turn in row["messages"] if turn["role"] == "assistant"]
    scored = [text for text in answers[-1:] if telling(text, row.get("class"))] if scored_only else answers
    return [*features, ("question", comparison_key(question)), *(("answer", comparison_key(text)) for text in scored)]


def telling(answer: str, class_name: str | None) -> bool:
    """Return whether it gives a held-out answer away that train has the same one.

    A label, or another answer of few words, is right for many records of a class, and train must hold it too.
    """
    return class_name is None or len(answer.split()) >= _SHORTEST_TELLING_ANSWER
