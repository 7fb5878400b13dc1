"""What a training split and a held-out split have in common: records, groups, texts, and long runs of words."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_assets.data.normalize import comparison_key
from llmops_assets.data.words import words_of

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


def overlap(train: Path, heldout: Path) -> list[Overlap]:
    """Return what the rows of `heldout` share with those of `train`; an empty list is a clean split.

    Both are JSON Lines of one kind: texts (`text`) or conversations (`messages`). Found are equal ids, equal groups,
    equal texts and first questions, held-out last answers that train gives in any turn (case and white space folded),
    and held-out texts of which half or more is contained in train. In memory is the held-out side alone.
    """
    # numpy is for those who build, not for the code location, which imports this module.
    from llmops_assets.data.duplicates.contained_runs import CONTAINED_SHARE, RUN_WORDS, contained_shares

    wanted: dict[tuple[str, str], list[str]] = {}
    texts: dict[str, str] = {}
    for row in _rows(heldout):
        for feature in _features(row, scored_only=True):
            wanted.setdefault(feature, []).append(row["id"])
        if "text" in row:
            texts[row["id"]] = row["text"]
    found: dict[tuple[str, str], Overlap] = {}
    for row in _rows(train):
        for kind, value in _features(row, scored_only=False):
            for identity in wanted.get((kind, value), ()):
                found.setdefault((kind, identity), Overlap(kind, identity, row["id"], value[:120]))
    shares = contained_shares(list(texts.values()), (row["text"] for row in _rows(train) if "text" in row))
    for identity, share in zip(texts, shares, strict=True):
        if share >= CONTAINED_SHARE:
            detail = f"{share:.0%} of its runs of {RUN_WORDS} words"
            found["contained", identity] = Overlap("contained", identity, "", detail)
    return list(found.values())


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def _features(row: dict[str, Any], *, scored_only: bool) -> list[tuple[str, str]]:
    features = [("id", row["id"]), ("group", row["group"])]
    if "text" in row:
        return [*features, ("text", comparison_key(row["text"]))]
    question = next(turn["content"] for turn in row["messages"] if turn["role"] == "user")
    answers = [turn["content"] for turn in row["messages"] if turn["role"] == "assistant"]
    scored = [text for text in answers[-1:] if telling(text, row.get("class") or None)] if scored_only else answers
    return [*features, ("question", comparison_key(question)), *(("answer", comparison_key(text)) for text in scored)]


def telling(answer: str, class_name: str | None) -> bool:
    """Return whether it gives a held-out answer away that train has the same one.

    A label, or another answer of few words, is right for many records of a class, and train must hold it too.
    """
    return class_name is None or len(words_of(answer)) >= _SHORTEST_TELLING_ANSWER
