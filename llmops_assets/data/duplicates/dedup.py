"""Exact and near duplicates of documents: MinHash LSH with exact verification."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.duplicates.bands import BandArray, Bands
from llmops_assets.data.duplicates.minhash import BINS, band_keys
from llmops_assets.data.duplicates.shingles import Hashes, shingle_hashes
from llmops_assets.data.normalize import comparison_key
from llmops_assets.data.records import Reason

SHINGLE_WORDS = 5
_LEAST_RECALL = 0.999
# Candidates whose texts are in memory at a time.
_LOADED = 1024
TextsOf = Callable[[Sequence[int]], list[str]]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Text number `index` says what number `kept` says; `similarity` is their Jaccard similarity, 1 for exact ones."""

    index: int
    kept: int
    reason: Reason
    similarity: float


@dataclass
class Matches:
    """What comparing texts found: the `duplicates` to drop, in order, and pairs of others that are `related`."""

    duplicates: list[Duplicate] = field(default_factory=list)
    related: list[tuple[int, int]] = field(default_factory=list)


def find_duplicates(texts: Sequence[str], threshold: float) -> list[Duplicate]:
    """Return the texts to drop, in order: of texts that are alike, the first one stays. See `compare`."""
    rows = band_rows(threshold)
    batches = [band_keys(batch, rows) for batch in shingle_hashes(texts, SHINGLE_WORDS)]
    keys = np.concatenate(batches) if batches else np.zeros((0, BINS // rows), np.uint64)
    return compare(BandArray(keys), lambda indices: [texts[index] for index in indices], threshold).duplicates


def compare(bands: Bands, texts_of: TextsOf, threshold: float, related: float = 1.0) -> Matches:
    """Compare the texts that have keys in `bands`, of which `texts_of` returns those with some numbers.

    Exact duplicates are equal after folding case and white space. Near duplicates have a Jaccard similarity of at
    least `threshold` between their sets of 5-word shingles (Broder 1997). MinHash banding only proposes candidates,
    at a recall of at least 99.9 % for pairs at the threshold (`band_rows`); the similarity is then computed exactly,
    so nothing is dropped by chance. Of candidates at or above `related`, and below the threshold, so many pairs are
    reported that they connect all those that are alike.

    Held are some numbers per text, and the shingles of the candidates of one connected component at a time; those are
    compared in pairs, so that many pages of one template take time.
    """
    found = Matches()
    component = _Component(found, threshold, related)
    current = -1
    for label, index, keys, shingles, text in _candidates(bands, texts_of):
        if label != current:
            component, current = _Component(found, threshold, related), label
        component.take(index, keys, shingles, text)
    found.duplicates.sort(key=lambda duplicate: duplicate.index)
    found.related.sort()
    return found


class _Component:
    """Texts that are connected by shared keys: no other text can be like one of them."""

    def __init__(self, found: Matches, threshold: float, related: float) -> None:
        self._found, self._threshold, self._related = found, threshold, related
        self._kept: dict[int, tuple[Hashes, bytes]] = {}
        self._joined: dict[int, int] = {}
        self._buckets: defaultdict[tuple[int, int], list[int]] = defaultdict(list)

    def take(self, index: int, keys: Hashes, shingles: Hashes, text: str) -> None:
        """Compare a text with those before it that stayed."""
        buckets = list(enumerate(keys.tolist()))
        said = hashlib.blake2b(comparison_key(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        related: list[int] = []
        for other in sorted({other for bucket in buckets for other in self._buckets.get(bucket, ())}):
            known, said_there = self._kept[other]
            similarity = jaccard(shingles, known)
            if similarity >= self._threshold:
                reason = Reason.EXACT_DUPLICATE if said == said_there else Reason.NEAR_DUPLICATE
                self._found.duplicates.append(Duplicate(index, other, reason, similarity))
                return
            if similarity >= self._related:
                related.append(other)
        self._kept[index] = shingles, said
        self._joined[index] = index
        for other in related:
            self._join(other, index)
        for bucket in buckets:
            self._buckets[bucket].append(index)

    def _join(self, left: int, right: int) -> None:
        roots = sorted((self._root(left), self._root(right)))
        if roots[0] != roots[1]:
            self._joined[roots[1]] = roots[0]
            self._found.related.append((left, right))

    def _root(self, index: int) -> int:
        while self._joined[index] != index:
            self._joined[index] = index = self._joined[self._joined[index]]
        return index


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


def _candidates(bands: Bands, texts_of: TextsOf) -> Iterator[tuple[int, int, Hashes, Hashes, str]]:
    """Yield (component, number, keys, shingles, text) of all texts that share a key with another one.

    Components come one after the other, and the texts of each in their order.
    """
    labels = components(bands)
    shared = np.flatnonzero(labels >= 0)
    order = shared[np.lexsort((shared, labels[shared]))]
    for first in range(0, len(order), _LOADED):
        numbers = order[first : first + _LOADED].tolist()
        texts = texts_of(numbers)
        yield from zip(labels[numbers].tolist(), numbers, bands.rows(numbers), _shingle_sets(texts), texts, strict=True)


def components(bands: Bands) -> NDArray[np.int64]:
    """Return [texts]: the smallest number of the texts that share keys with it, over others too; -1 for one alone."""
    labels = np.arange(len(bands))
    alone = np.ones(len(bands), bool)
    for band in range(bands.width):
        column = np.ascontiguousarray(bands.column(band))
        order = np.argsort(column)
        ordered = column[order]
        equal = ordered[1:] == ordered[:-1]
        left, right = order[:-1][equal], order[1:][equal]
        alone[left] = alone[right] = False
        labels = joined(labels, left, right)
    return np.where(alone, -1, labels)


def joined(labels: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `labels`, the smallest number in each component, with the components of each `left` and `right` joined."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.stack([labels[left], labels[right]])
    pairs = pairs[:, pairs[0] != pairs[1]]
    if not pairs.size:
        return labels
    nodes, places = np.unique(pairs, return_inverse=True)
    first, second = places.reshape(2, -1)
    edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(nodes), len(nodes)))
    _, component_of = connected_components(edges, directed=False)
    smallest = np.full(component_of.max() + 1, len(labels))
    np.minimum.at(smallest, component_of, nodes)
    new = np.arange(len(labels))
    new[nodes] = smallest[component_of]
    return new[labels]


def _shingle_sets(texts: Sequence[str]) -> list[Hashes]:
    return [batch.of(index) for batch in shingle_hashes(texts, SHINGLE_WORDS) for index in range(len(batch))]
