"""Exact and near duplicates of documents: MinHash LSH with exact verification."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.minhash import BINS, band_keys
from llmops_assets.data.normalize import comparison_key
from llmops_assets.data.records import Reason
from llmops_assets.data.shingles import Hashes, shingle_hashes

SHINGLE_WORDS = 5
_LEAST_RECALL = 0.999


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Text number `index` says what number `kept` says; `similarity` is their Jaccard similarity, 1 for exact ones."""

    index: int
    kept: int
    reason: Reason
    similarity: float


def find_duplicates(texts: Sequence[str], threshold: float) -> list[Duplicate]:
    """Return the texts to drop, in order: of texts that are alike, the first one stays.

    Exact duplicates are equal after folding case and white space. Near duplicates have a Jaccard similarity of at
    least `threshold` between their sets of 5-word shingles (Broder 1997). MinHash banding only proposes candidates,
    at a recall of at least 99.9 % for pairs at the threshold; the similarity is then computed exactly, so nothing is
    dropped by chance. Held besides `texts`: 8 bytes per text and band; for each candidate that shares a band with
    another text its shingles and some hundred bytes a band.
    """
    keys = _band_keys(texts, band_rows(threshold))
    candidates = _sharing_a_band(keys)
    shingles = _shingle_sets([texts[index] for index in candidates])
    kept: dict[tuple[int, int], list[int]] = defaultdict(list)
    duplicates: list[Duplicate] = []
    for place, index in enumerate(candidates):
        buckets = list(enumerate(keys[index].tolist()))
        for other in sorted({other for bucket in buckets for other in kept.get(bucket, ())}):
            similarity = jaccard(shingles[place], shingles[other])
            if similarity >= threshold:
                duplicates.append(_duplicate(texts, index, candidates[other], similarity))
                break
        else:
            for bucket in buckets:
                kept[bucket].append(place)
    return duplicates


def _duplicate(texts: Sequence[str], index: int, kept: int, similarity: float) -> Duplicate:
    equal = similarity == 1 and comparison_key(texts[index]) == comparison_key(texts[kept])
    return Duplicate(index, kept, Reason.EXACT_DUPLICATE if equal else Reason.NEAR_DUPLICATE, similarity)


def jaccard(left: Hashes, right: Hashes) -> float:
    """Return the share of common elements of two sets of hashes, each sorted and without repetition, none empty."""
    common = len(np.intersect1d(left, right, assume_unique=True))
    return common / (len(left) + len(right) - common)


def band_rows(threshold: float) -> int:
    """Return the most rows a band may have for pairs at `threshold` to be found with the least recall or more."""
    for rows in range(16, 1, -1):
        if 1 - (1 - threshold**rows) ** (BINS // rows) >= _LEAST_RECALL:
            return rows
    return 1


def _band_keys(texts: Sequence[str], rows: int) -> NDArray[np.uint64]:
    """Return [texts, bands]: texts that share a key in a band are candidates."""
    batches = [band_keys(batch, rows) for batch in shingle_hashes(texts, SHINGLE_WORDS)]
    return np.concatenate(batches) if batches else np.zeros((0, BINS // rows), np.uint64)


def _sharing_a_band(keys: NDArray[np.uint64]) -> list[int]:
    """Return the numbers of the texts that are not alone with their key in some band."""
    shared = np.zeros(len(keys), bool)
    for band in range(keys.shape[1]):
        column = np.ascontiguousarray(keys[:, band])
        ordered = np.sort(column)
        repeated = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(repeated):
            place = np.minimum(np.searchsorted(repeated, column), len(repeated) - 1)
            shared |= repeated[place] == column
    return np.flatnonzero(shared).tolist()


def _shingle_sets(texts: Sequence[str]) -> list[Hashes]:
    return [batch.of(index) for batch in shingle_hashes(texts, SHINGLE_WORDS) for index in range(len(batch))]
