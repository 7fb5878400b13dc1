"""What the benchmarks hold for true: planted copies are as alike as they claim, and answers are judged by clusters."""

import json
import random
from pathlib import Path

import pytest

from benchmarks.planted import THRESHOLD, Vocabulary, copy_of, recall_and_precision
from benchmarks.planted_corpus import LOW_QUALITY, Corpus, Kind, make_corpus
from llmops_assets.data.duplicates.dedup import find_duplicates
from llmops_assets.data.duplicates.word_batches import words_in
from llmops_assets.data.normalize import comparison_key, normalize_text
from llmops_assets.data.quality.filters import verdicts
from llmops_assets.data.specs import QualitySpec

# An original 0 with the copies 1 and 2, and an original 5 with the copy 7.
_ORIGINAL_OF = {1: 0, 2: 0, 7: 5}


@pytest.mark.parametrize(
    ("dropped", "recall", "precision"),
    [
        ({1, 2, 7}, 1, 1),
        ({0, 2, 5}, 1, 1),
        ({0, 1, 2, 7}, 1, 3 / 4),
        ({1}, 1 / 3, 1),
        ({1, 3}, 1 / 3, 1 / 2),
        (set(), 0, 1),
    ],
)
def test_of_a_cluster_all_but_one_should_go_no_matter_which(dropped: set[int], recall: float, precision: float) -> None:
    assert recall_and_precision(dropped, _ORIGINAL_OF) == (recall, precision)


@pytest.mark.parametrize("alike", [True, False])
def test_a_copy_says_whether_it_is_at_the_threshold(alike: bool) -> None:
    chance = random.Random(1)
    vocabulary = Vocabulary()
    for _ in range(20):
        original = vocabulary.text(chance)
        words, claimed = copy_of(original, alike, chance)
        found = find_duplicates([" ".join(original), " ".join(words)], THRESHOLD)
        assert claimed == bool(found)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "documents.jsonl", 400)


def _texts(file: Path) -> list[str]:
    return [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_larger_corpus_begins_with_the_smaller_one(corpus: Corpus, tmp_path: Path) -> None:
    smaller = make_corpus(tmp_path / "documents.jsonl", 200)
    assert _texts(smaller.file) == _texts(corpus.file)[:200]


def test_planted_copies_are_the_duplicates_of_the_corpus(corpus: Corpus) -> None:
    texts = [normalize_text(text) for text in _texts(corpus.file)]
    low = {number for number, kind in enumerate(corpus.kinds) if Kind(kind) in LOW_QUALITY}
    numbers = [number for number in range(len(texts)) if number not in low]
    found = find_duplicates([texts[number] for number in numbers], THRESHOLD)
    assert {numbers[duplicate.index] for duplicate in found} == set(corpus.original_of)
    for number, original in corpus.original_of.items():
        equal = comparison_key(texts[number]) == comparison_key(texts[original])
        assert equal == (corpus.kinds[number] == Kind.EXACT_COPY)


def test_gopher_and_c4_rules_take_the_planted_low_quality_and_nothing_else(corpus: Corpus) -> None:
    spec = QualitySpec(max_symbols=0.1, min_alphabetic_words=0.8, min_stop_words=2, max_boilerplate_lines=0.3)
    for kind, text in zip(corpus.kinds, _texts(corpus.file), strict=True):
        assert (verdicts(words_in([normalize_text(text)]), spec) != [None]) == (Kind(kind) in LOW_QUALITY)
