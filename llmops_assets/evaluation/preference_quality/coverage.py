"""Which part of its domain a lane's voters have seen. numpy and scipy are imported where they are needed."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmops_assets.data.splits import pick
from llmops_assets.data.words import words_of
from llmops_assets.evaluation.preference_quality.figures import DomainFigures, PromptFigures
from llmops_assets.feedback.ballots import CastVote

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# So many different questions, drawn by hash, does a voter's prompt have to be like one of; all are looked up.
MOST_QUESTIONS = 20_000
# Cosine of tf-idf vectors: two questions at one half share most of the words that tell them from others.
NEAR = 0.5
_BATCH = 256


@dataclass(frozen=True)
class Question:
    """What a lane is trained to answer: the question, the group that splits keep together, and its source."""

    text: str
    group: str
    source: str


def prompt_figures(
    votes: Sequence[CastVote], prompts: Mapping[str, str], domain: Sequence[Question] | None
) -> PromptFigures:
    """How votes spread over prompts, and over the `domain` where it is known; `prompts` are last turns by hash."""
    per_prompt = Counter(vote.prompt_hash for vote in votes)
    total = per_prompt.total()
    return PromptFigures(
        prompts=len(per_prompt),
        effective=total**2 / sum(count**2 for count in per_prompt.values()) if total else 0.0,
        mean_votes=total / len(per_prompt) if total else 0.0,
        most_votes=max(per_prompt.values(), default=0),
        domain=_domain(sorted({prompts[key] for key in per_prompt}), domain) if domain and total else None,
    )


def _domain(asked: Sequence[str], domain: Sequence[Question]) -> DomainFigures:
    known = {_folded(question.text): question for question in reversed(domain)}
    found = [known.get(_folded(text)) for text in asked]
    strangers = [text for text, question in zip(asked, found, strict=True) if question is None]
    drawn = pick(list(known.values()), MOST_QUESTIONS, seed=0, key=lambda question: question.text)
    near = [drawn[index] for index in _nearest(strangers, [q.text for q in drawn]) if index is not None]
    same = [question for question in found if question is not None]
    seen = [*same, *near]
    by_source = Counter(question.source for question in seen)
    return DomainFigures(
        same=len(same),
        near=len(near),
        outside=len(strangers) - len(near),
        groups=len({question.group for question in domain}),
        groups_seen=len({question.group for question in seen}),
        sources={source: by_source[source] for source in sorted({question.source for question in domain})},
    )


def _nearest(texts: Sequence[str], questions: Sequence[str]) -> list[int | None]:
    """The index of the question most like each text, None below `NEAR`; the first of equals."""
    if not texts:
        return []
    words = [_words(question) for question in questions]
    column = {word: index for index, word in enumerate(sorted({word for row in words for word in row}))}
    frequency = Counter(word for row in words for word in row)
    # A word that all questions have ("what", "does") weighs next to nothing.
    weight = {word: math.log((1 + len(questions)) / frequency[word]) for word in column}
    transposed = _vectors(words, column, weight).T.tocsc()
    found: list[int | None] = []
    for start in range(0, len(texts), _BATCH):
        rows = _vectors([_words(text) for text in texts[start : start + _BATCH]], column, weight)
        similar = (rows @ transposed).toarray()
        best = similar.argmax(axis=1)
        found += [int(at) if similar[row, at] >= NEAR else None for row, at in enumerate(best)]
    return found


def _vectors(rows: Sequence[Counter[str]], column: Mapping[str, int], weight: Mapping[str, float]) -> "csr_matrix":
    """Unit tf-idf vectors. A word that no question has still counts towards a text's length: it is unlike them all."""
    import numpy
    from scipy.sparse import csr_matrix

    strange = max(weight.values(), default=1.0)
    values, columns, ends = [], [], [0]
    for row in rows:
        weights = {word: count * weight.get(word, strange) for word, count in row.items()}
        length = math.sqrt(sum(value**2 for value in weights.values())) or 1.0
        known = [word for word in row if word in column]
        values += [weights[word] / length for word in known]
        columns += [column[word] for word in known]
        ends.append(len(columns))
    return csr_matrix((numpy.array(values), numpy.array(columns, dtype=int), ends), shape=(len(rows), len(column)))


def _words(text: str) -> Counter[str]:
    return Counter(words_of(text))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
