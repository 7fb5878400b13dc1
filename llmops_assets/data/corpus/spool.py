"""Documents on disk while a corpus is built: written once in order, read again by number."""

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path


class Spool:
    """Lines of bytes in a file, without their line breaks; in memory are 8 bytes a line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            self._file.write(line)
            self._ends.append(self._ends[-1] + len(line))

    def read(self, numbers: Sequence[int]) -> list[bytes]:
        """Return the lines with these numbers, which count from 0."""
        self._file.flush()
        file, ends = self._file.fileno(), self._ends
        return [os.pread(file, ends[number + 1] - ends[number], ends[number]) for number in numbers]

    def batches(self, numbers: Iterable[int], size: int) -> Iterator[list[tuple[int, bytes]]]:
        """Yield (number, line) of `numbers`, in batches of about `size` bytes."""
        batch: list[tuple[int, bytes]] = []
        held = 0
        self._file.flush()
        for number in numbers:
            start, end = self._ends[number], self._ends[number + 1]
            batch.append((number, os.pread(self._file.fileno(), end - start, start)))
            held += end - start
            if held >= size:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch

    def close(self) -> None:
        self._file.close()
