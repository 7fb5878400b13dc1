"""Band keys of many texts: in memory, or in a file per band for those that are too many for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.duplicates.word_batches import Hashes


class Bands(Protocol):
    """[texts, bands] of keys; texts that share a key in a band are candidates for being alike."""

    def __len__(self) -> int: ...

    @property
    def width(self) -> int:
        """How many bands there are."""
        ...

    def column(self, band: int) -> Hashes:
        """Return [texts]: the keys of one band."""
        ...

    def rows(self, texts: Sequence[int]) -> Hashes:
        """Return [texts, bands]: the keys of some texts."""
        ...


class BandArray:
    """Keys in memory."""

    def __init__(self, keys: Hashes) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def width(self) -> int:
        return self._keys.shape[1]

    def column(self, band: int) -> Hashes:
        return self._keys[:, band]

    def rows(self, texts: Sequence[int]) -> Hashes:
        return self._keys[np.asarray(texts, np.int64)]


class BandFiles:
    """Keys in files of a folder, to which batches are added; no more than a column is in memory."""

    def __init__(self, folder: Path, width: int) -> None:
        self._width = width
        self._count = 0
        self._paths = [folder / f"band-{band}" for band in range(width)]
        self._files: list[BinaryIO] = [path.open("wb") for path in self._paths]

    def __len__(self) -> int:
        return self._count

    @property
    def width(self) -> int:
        return self._width

    def add(self, keys: Hashes) -> None:
        """Add [texts, bands] of the next texts."""
        self._count += len(keys)
        for file, column in zip(self._files, np.ascontiguousarray(keys.T), strict=True):
            file.write(column.tobytes())

    def close(self) -> None:
        for file in self._files:
            file.close()

    def column(self, band: int) -> Hashes:
        self._files[band].flush()
        return np.fromfile(self._paths[band], np.uint64)

    def rows(self, texts: Sequence[int]) -> Hashes:
        chosen = np.asarray(texts, np.int64)
        if not len(chosen):
            return np.zeros((0, self._width), np.uint64)
        return np.stack([self._mapped(band)[chosen] for band in range(self._width)], axis=1)

    def _mapped(self, band: int) -> NDArray[np.uint64]:
        self._files[band].flush()
        return np.memmap(self._paths[band], np.uint64, mode="r")
