"""Pipelines of datatrove as its documentation builds them, run by its local executor in this one process.

MinHash has datatrove's default of 14 buckets of 8 hashes, which finds a pair at a Jaccard similarity of 0.8 with a
chance of 1 - (1 - 0.8^8)^14 = 0.92. Nothing verifies a pair that shares a bucket. Shingles are those that the other
subjects have, runs of five lower-cased words without punctuation: numbers and diacritics stay.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.executor.local import LocalPipelineExecutor  # pyright: ignore[reportMissingImports]
from datatrove.pipeline.dedup.minhash import (  # pyright: ignore[reportMissingImports]
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.utils.text import TextNormConfig  # pyright: ignore[reportMissingImports]
from datatrove.utils.word_tokenizers import WordTokenizer  # pyright: ignore[reportMissingImports]

_CONFIG = MinhashConfig(
    n_grams=5,
    num_buckets=14,
    hashes_per_bucket=8,
    norm_config=TextNormConfig(norm_numbers=False, norm_unicode_diacritics=False),
)
Steps = list[Any]


class WordsByRegex(WordTokenizer):
    """Words as one regular expression finds them: the cheapest tokenizer that datatrove's interface admits."""

    _word = re.compile(r"\w+")

    def word_tokenize(self, text: str) -> list[str]:
        return self._word.findall(text)

    def sent_tokenize(self, text: str) -> list[str]:
        raise NotImplementedError("no step of these pipelines asks for sentences")

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        raise NotImplementedError("no step of these pipelines asks for spans")


def word_tokenizer(spacy: bool) -> WordTokenizer | str:
    """Return what datatrove takes as `language`: a tokenizer, or English, whose default tokenizer is spaCy's."""
    return "en" if spacy else WordsByRegex()


def run_steps(steps: Steps, logs: Path, tasks: int = 1) -> None:
    """Run `steps` in this process. Counts of each step are written to `logs`/stats.json."""
    LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=str(logs)).run()


def drop_near_duplicates(read: Callable[[], Steps], write: Steps, folder: Path, tokenizer: WordTokenizer | str) -> Path:
    """Pass what `read` yields to `write` without near-duplicates: signatures, buckets, clusters, filter.

    Return the file with the places of the dropped documents among those read (uint32), which `places_in` reads.
    """
    signatures, pairs, removals = (str(folder / name) for name in ("signatures", "pairs", "removals"))
    run_steps([*read(), MinhashDedupSignature(signatures, _CONFIG, language=tokenizer)], folder / "log-signatures")
    run_steps([MinhashDedupBuckets(signatures, pairs, config=_CONFIG)], folder / "log-pairs", _CONFIG.num_buckets)
    run_steps([MinhashDedupCluster(pairs, removals, config=_CONFIG)], folder / "log-clusters")
    run_steps([*read(), MinhashDedupFilter(removals), *write], folder / "log-filter")
    return Path(removals) / "000000.remove"


def places_in(file: Path) -> list[int]:
    """Return the places that a file of datatrove's lists; there is none where nothing is dropped."""
    return np.fromfile(file, "<u4").tolist() if file.is_file() else []
