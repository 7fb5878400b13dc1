"""Exact and near duplicates of documents: normalized hash, then MinHash LSH with exact Jaccard verification."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue]  (a compiled module without stubs)

from llmops_assets.data.filters import words_of
from llmops_assets.data.normalize import comparison_key
from llmops_assets.data.records import Reason

SHINGLE_WORDS = 5
_PERMUTATIONS = 128
_LEAST_RECALL = 0.999
_SEED = 42


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Text number `index` says what number `kept` says; `similarity` is their Jaccard similarity, 1 for exact ones."""

    index: int
    kept: int
    reason: Reason
    similarity: float


def find_duplicates(texts: Sequence[str], threshold: float) -> list[Duplicate]:
    """Return the texts to drop: of texts that are alike, the first one stays.

    Exact duplicates are equal after folding case and white space. Near duplicates have a Jaccard similarity of at
    least `threshold` between their sets of 5-word shingles (Broder 1997). MinHash banding only proposes candidates,
    at a recall of at least 99.9 % for pairs at the threshold; the similarity is then computed exactly, so nothing is
    dropped by chance.
    """
    duplicates: list[Duplicate] = []
    first: dict[str, int] = {}
    distinct: list[int] = []
    for index, text in enumerate(texts):
        kept = first.setdefault(comparison_key(text), index)
        if kept == index:
            distinct.append(index)
        else:
            duplicates.append(Duplicate(index, kept, Reason.EXACT_DUPLICATE, 1.0))
    shingles = {index: shingles_of(texts[index]) for index in distinct}
    signatures = RMinHash.digests_from_token_sets([sorted(shingles[i]) for i in distinct], _PERMUTATIONS, _SEED)
    rows = band_rows(threshold)
    buckets: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, signature in zip(distinct, signatures, strict=True):
        keys = [(start, *signature[start : start + rows]) for start in range(0, _PERMUTATIONS - rows + 1, rows)]
        candidates = sorted({candidate for key in keys for candidate in buckets.get(key, ())})
        match = next((c for c in candidates if jaccard(shingles[index], shingles[c]) >= threshold), None)
        if match is None:
            for key in keys:
                buckets[key].append(index)
        else:
            similarity = jaccard(shingles[index], shingles[match])
            duplicates.append(Duplicate(index, match, Reason.NEAR_DUPLICATE, similarity))
    return sorted(duplicates, key=lambda duplicate: duplicate.index)


def shingles_of(text: str, size: int = SHINGLE_WORDS) -> frozenset[str]:
    """Return the runs of `size` consecutive words of `text`; a shorter text is one shingle, as is one without words."""
    words = words_of(text) or [text]
    return frozenset(" ".join(words[start : start + size]) for start in range(max(1, len(words) - size + 1)))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Return the share of common elements of two non-empty sets."""
    common = len(left & right)
    return common / (len(left) + len(right) - common)


def band_rows(threshold: float) -> int:
    """Return the most rows a band may have for pairs at `threshold` to be found with the least recall or more."""
    for rows in range(16, 1, -1):
        if 1 - (1 - threshold**rows) ** (_PERMUTATIONS // rows) >= _LEAST_RECALL:
            return rows
    return 1
