"""Which training texts hold an eval item, word for word.

Texts are compared as words: NFKC, case folded, punctuation left out (`word_batches.py`). A training text leaks an
item if it holds a run of 13 of its words (Brown et al. 2020, arXiv 2005.14165, appendix C). Of an item with fewer than
20 words it must hold 70 % of the runs of 8; one with fewer than 8 words must stand on lines of its own. Items are
taken with each of their answers. Runs that a fifth of the items of one source share, five at least, are their common
instructions and prove nothing.

Texts with other words, translations and paraphrases, are not found.
"""

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.duplicates.shingles import word_runs
from llmops_assets.data.duplicates.word_batches import Hashes, Words, words_in
from llmops_assets.data.evals.eval_sets import read_items
from llmops_assets.data.formats.eval_items import EvalItem
from llmops_assets.data.jsonl import excerpt

RUN, SHORT_RUN, SHORT_ITEM, COVERAGE = 13, 8, 20, 0.7
_VERSION = "2"
_SHARED, _LEAST_SHARED = 0.2, 5
_BATCH_CHARACTERS = 1 << 18
_BATCH_ROWS = 1000
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Leak:
    """An eval item that a training text holds, and what shows it."""

    item: str
    evidence: str

    def __str__(self) -> str:
        return f"holds eval item {self.item} ({self.evidence})"


@dataclass(frozen=True)
class _Runs:
    """Runs of words of one kind: sorted hashes, and the entry of each; entries are texts of items, by number."""

    hashes: Hashes
    entries: Numbers

    @classmethod
    def of(cls, pairs: Iterable[tuple[Hashes, int]], items: Sequence[int], sources: Sequence[str]) -> "_Runs":
        """Index runs by entry, but for those that many items of one source share, where an entry has others.

        `items` has the number of the item of each entry, `sources` the source of each item.
        """
        found = [(np.unique(hashes), entry) for hashes, entry in pairs if len(hashes)]
        if not found:
            return cls(np.zeros(0, np.uint64), np.zeros(0, np.int64))
        hashes = np.concatenate([each for each, _ in found])
        entries = np.concatenate([np.full(len(each), entry) for each, entry in found])
        item_of = np.asarray(items, np.int64)[entries]
        often = np.isin(hashes, _common(hashes, item_of, sources))
        telling = np.zeros(int(entries.max()) + 1, bool)
        telling[entries[~often]] = True
        kept = ~often | ~telling[entries]
        hashes, entries = hashes[kept], entries[kept]
        order = np.lexsort((entries, hashes))
        return cls(hashes[order], entries[order])

    def first(self, hashes: Hashes) -> tuple[Numbers, Numbers]:
        """Return the places in `hashes` that hold a run of an entry, and such an entry for each."""
        if not len(self.hashes):
            return self.entries, self.entries
        at = np.searchsorted(self.hashes, hashes)
        places = np.flatnonzero(self.hashes[np.minimum(at, len(self.hashes) - 1)] == hashes)
        return places, self.entries[at[places]]

    def all(self, hashes: Hashes) -> tuple[Numbers, Numbers]:
        """Return (place in `hashes`, entry) of every entry that has the run there."""
        places, _ = self.first(hashes)
        low = np.searchsorted(self.hashes, hashes[places])
        counts = np.searchsorted(self.hashes, hashes[places], side="right") - low
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(places, counts), self.entries[np.repeat(low, counts) + within]

    def sizes(self, entries: int) -> Numbers:
        """Return the number of runs of each of so many entries."""
        return np.bincount(self.entries, minlength=entries)


def _common(hashes: Hashes, item_of: Numbers, sources: Sequence[str]) -> Hashes:
    """Return the runs that many items of one source share; a hash has the number of its item beside it."""
    _, source_of, sizes = np.unique(np.asarray(sources), return_inverse=True, return_counts=True)
    # One of each item, whatever number of its texts has the run.
    order = np.lexsort((item_of, hashes))
    ordered, owners = hashes[order], item_of[order]
    first = np.concatenate([[True], (ordered[1:] != ordered[:-1]) | (owners[1:] != owners[:-1])])
    ordered, source = ordered[first], source_of[owners[first]]
    order = np.lexsort((source, ordered))
    ordered, source = ordered[order], source[order]
    starts = np.flatnonzero(np.concatenate([[True], (ordered[1:] != ordered[:-1]) | (source[1:] != source[:-1])]))
    counts = np.diff(np.append(starts, len(ordered)))
    return ordered[starts][counts >= np.maximum(_LEAST_SHARED, _SHARED * sizes[source[starts]])]


class EvalIndex:
    """The runs of words of eval items, to find them in training texts."""

    def __init__(self, items: Iterable[EvalItem]) -> None:
        """Index all texts of `items`; one without any word cannot be found, and is in `without_words`."""
        self.names: list[str] = []
        self.without_words: list[str] = []
        self._item_of: list[int] = []
        sources: list[str] = []
        long, short, lines = [], [], [[] for _ in range(SHORT_RUN)]
        told = hashlib.sha256(_VERSION.encode())
        for number, item in enumerate(items):
            self.names.append(item.id)
            sources.append(item.source)
            for text in item.texts():
                folded = _folded(text)
                words = words_in([folded]).hashes
                told.update(f"{item.id}\0{item.source}\0{folded}\0".encode("utf-8", "surrogatepass"))
                if not len(words):
                    self.without_words.append(item.id)
                    continue
                entry = len(self._item_of)
                self._item_of.append(number)
                if len(words) >= SHORT_ITEM:
                    long.append((word_runs(words, RUN), entry))
                elif len(words) >= SHORT_RUN:
                    short.append((word_runs(words, SHORT_RUN), entry))
                else:
                    lines[len(words)].append((word_runs(words, len(words)), entry))
        self.digest = told.hexdigest()
        self._long, self._short = (_Runs.of(found, self._item_of, sources) for found in (long, short))
        self._sizes = self._short.sizes(len(self._item_of))
        self._lines = {size: _Runs.of(found, self._item_of, sources) for size, found in enumerate(lines) if found}

    @classmethod
    def load(cls, items_file: Path) -> "EvalIndex":
        """Index the items.jsonl of an `eval_sets` artifact."""
        return cls(read_items(items_file))

    def leaks(self, texts: Sequence[str]) -> list[Leak | None]:
        """Return for each training text an eval item that it holds, the first in it that is found, or None.

        Turns of a conversation are one text, each on lines of its own.
        """
        found: list[Leak | None] = []
        batch: list[str] = []
        characters = 0
        for text in texts:
            batch.append(_folded(text))
            characters += len(batch[-1])
            if characters >= _BATCH_CHARACTERS:
                found += self._leaks(batch)
                batch, characters = [], 0
        return found + self._leaks(batch)

    def _leaks(self, folded: list[str]) -> list[Leak | None]:
        found: list[Leak | None] = [None] * len(folded)
        words = words_in(folded)
        for hits in (self._long_hits(words), self._short_hits(words), self._line_hits(words)):
            for place, entry, size, kind in hits:
                text = int(words.text_of[place])
                if found[text] is None:
                    last = min(place + size, int(words.firsts[text + 1]))
                    end = int(words.starts[last]) if last < len(words.starts) else len(words.folded)
                    # What stands before the first word of the next text is not of this one.
                    said = words.folded[words.starts[place] : end]
                    said = said if last < words.firsts[text + 1] else said[: said.rfind("\n")]
                    evidence = f"{kind}: {excerpt(' '.join(said.split()))}"
                    found[text] = Leak(self.names[self._item_of[entry]], evidence)
        return found

    def _long_hits(self, words: Words) -> Iterator[tuple[int, int, int, str]]:
        """Yield (place of the first word, entry, words, what it is), one for each text, in their order."""
        runs, places = _runs_inside(words, RUN)
        at, entries = self._long.first(runs)
        yield from _first_of_each_text(places[at], entries, words, RUN, f"{RUN} words of it in a row")

    def _short_hits(self, words: Words) -> Iterator[tuple[int, int, int, str]]:
        runs, places = _runs_inside(words, SHORT_RUN)
        at, entry = self._short.all(runs)
        if not len(at):
            return
        place, run = places[at], runs[at]
        order = np.lexsort((place, run, entry, words.text_of[place]))
        place, entry, run = place[order], entry[order], run[order]
        texts = words.text_of[place]
        same = (texts[1:] == texts[:-1]) & (entry[1:] == entry[:-1])
        fresh = np.concatenate([[True], ~(same & (run[1:] == run[:-1]))])
        groups = np.flatnonzero(np.concatenate([[True], ~same]))
        counts = np.add.reduceat(fresh.astype(np.int64), groups)
        firsts = np.minimum.reduceat(place, groups)
        enough = counts >= COVERAGE * self._sizes[entry[groups]]
        for group in np.flatnonzero(enough)[np.argsort(firsts[enough], kind="stable")].tolist():
            number = int(entry[groups[group]])
            share = counts[group] / self._sizes[number]
            yield int(firsts[group]), number, SHORT_ITEM, f"{share:.0%} of its runs of {SHORT_RUN} words, from"

    def _line_hits(self, words: Words) -> Iterator[tuple[int, int, int, str]]:
        if not self._lines or not len(words.hashes):
            return
        line_of = np.searchsorted(_line_breaks(words.folded), words.starts)
        opens = np.concatenate([[True], line_of[1:] != line_of[:-1]])
        closes = np.concatenate([opens[1:], [True]])
        for size, known in self._lines.items():
            runs, places = _runs_inside(words, size)
            whole = opens[places] & closes[places + size - 1]
            at, entries = known.first(runs[whole])
            what = "the whole of it on a line of its own"
            yield from _first_of_each_text(places[whole][at], entries, words, size, what)


def training_texts(row: Mapping[str, Any]) -> list[str]:
    """Return what a row of a training set teaches, by its layout: a document, a conversation, a thumb, or a pair."""
    if "text" in row:
        return [row["text"]]
    if "messages" in row:
        return [_lines(row["messages"])]
    answers = [row["completion"]] if "completion" in row else [row["chosen"], row["rejected"]]
    asked = _lines(row["prompt"])
    return [f"{asked}\n{answer if isinstance(answer, str) else _lines(answer)}" for answer in answers]


def leaking_rows(rows: Sequence[Mapping[str, Any]], index: EvalIndex) -> list[Leak | None]:
    """Return for each row of a training set an eval item that it teaches, or None."""
    texts = [training_texts(row) for row in rows]
    found = iter(index.leaks([text for several in texts for text in several]))
    return [next((leak for leak in [next(found) for _ in several] if leak), None) for several in texts]


def leaks_of_set(folder: Path, index: EvalIndex) -> tuple[int, list[tuple[int, Leak]]]:
    """Return how many rows of a set's folder are trained on, and (line, leak) of each that teaches an eval item.

    Of a corpus these are its documents: where a chunk begins, no line does. Lines are those of the file read.
    """
    documents = folder / "documents.jsonl"
    if not documents.is_file():
        return _leaks_of_file(folder / "train.jsonl", index, lambda _: True)
    return _leaks_of_file(documents, index, lambda row: row["split"] == "train")


def _leaks_of_file(
    file: Path, index: EvalIndex, is_trained_on: Callable[[Mapping[str, Any]], bool]
) -> tuple[int, list[tuple[int, Leak]]]:
    found: list[tuple[int, Leak]] = []
    number = 0
    rows = 0
    with file.open(encoding="utf-8") as stream:
        while lines := list(islice(stream, _BATCH_ROWS)):
            read = [(number + at, json.loads(line)) for at, line in enumerate(lines, start=1)]
            taught = [(place, row) for place, row in read if is_trained_on(row)]
            leaks = leaking_rows([row for _, row in taught], index)
            found += [(place, leak) for (place, _), leak in zip(taught, leaks, strict=True) if leak is not None]
            number += len(lines)
            rows += len(taught)
    return rows, found


def _lines(turns: Iterable[Mapping[str, Any]]) -> str:
    return "\n".join(turn["content"] for turn in turns)


def _first_of_each_text(
    places: Numbers, entries: Numbers, words: Words, size: int, what: str
) -> Iterator[tuple[int, int, int, str]]:
    _, firsts = np.unique(words.text_of[places], return_index=True)
    for first in firsts.tolist():
        yield int(places[first]), int(entries[first]), size, what


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _runs_inside(words: Words, size: int) -> tuple[Hashes, Numbers]:
    """Return the runs of words that lie in one text, and the place of the first word of each."""
    runs = word_runs(words.hashes, size)
    inside = words.text_of[: len(runs)] == words.text_of[size - 1 : size - 1 + len(runs)]
    return runs[inside], np.flatnonzero(inside)


def _line_breaks(text: str) -> Numbers:
    if text.isascii():
        return np.flatnonzero(np.frombuffer(text.encode("ascii"), np.uint8) == ord("\n"))
    return np.flatnonzero(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32) == ord("\n"))
