"""MinHash signatures by one permutation, and the bands of them by which similar texts are found.

One permutation hashing (Li, Owen and Zhang 2012, arXiv 1208.1259): the first bits of a shingle's hash choose its bin,
and the smallest rest of each bin is one value of the signature, so that a text costs one sort instead of one pass per
value. Empty bins take the value of the next bin that has one, changed by the distance (Shrivastava and Li 2014, arXiv
1406.4784).
"""

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.duplicates.shingles import Shingled

BINS = 128
_BIN_BITS = 7
# Texts whose signatures are in a core's second-level cache together.
_GROUP = 1 << 10
_NONE = np.uint64(2**64 - 1)
_FAR = np.uint64(0x9E3779B97F4A7C15)
_BAND_BASE = np.uint64(0xC2B2AE3D27D4EB4F)


def band_keys(shingled: Shingled, rows: int) -> NDArray[np.uint64]:
    """Return [texts, BINS // rows]: for each band of `rows` values of the signature one key that stands for them."""
    groups = range(0, len(shingled), _GROUP)
    return np.concatenate([_keys_of(_signatures(shingled, first), rows) for first in groups])


def _signatures(shingled: Shingled, first: int) -> NDArray[np.uint64]:
    """Return [texts, BINS] of the group of texts that begins with number `first`."""
    last = min(first + _GROUP, len(shingled))
    starts = shingled.starts[first : last + 1]
    hashes = shingled.hashes[starts[0] : starts[-1]]
    cells = np.repeat(np.arange(last - first) << _BIN_BITS, np.diff(starts))
    cells += (hashes >> np.uint64(64 - _BIN_BITS)).astype(np.int64)
    values = np.full((last - first) * BINS, _NONE)
    np.minimum.at(values, cells, hashes)
    return _densified(values.reshape(-1, BINS))


def _densified(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Fill empty bins from the next one that is not, going round; every text has a shingle, so there is one."""
    sparse = np.flatnonzero((values == _NONE).any(axis=1))
    filled = values[sparse] != _NONE
    place = np.where(np.concatenate([filled, filled], axis=1), np.arange(2 * BINS), 4 * BINS)
    following = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1][:, :BINS]
    distance = (following - np.arange(BINS)).astype(np.uint64)
    values[sparse] = np.take_along_axis(values[sparse], following % BINS, axis=1) + distance * _FAR
    return values


def _keys_of(signatures: NDArray[np.uint64], rows: int) -> NDArray[np.uint64]:
    bands = BINS // rows
    values = signatures[:, : bands * rows].reshape(-1, bands, rows)
    keys = values[:, :, 0].copy()
    for row in range(1, rows):
        keys *= _BAND_BASE
        keys ^= keys >> np.uint64(29)
        keys += values[:, :, row]
    return keys
