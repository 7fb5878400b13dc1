"""Draws by hash of a key: the same on every machine, in any order of records, and stable when a set grows."""

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Literal, NamedTuple, TypeVar

Split = Literal["train", "heldout"]
T = TypeVar("T")
_LARGEST_SHARE = 0.1


def draw(seed: int, key: str) -> float:
    """Return a number in [0, 1) that depends on `seed` and `key` alone (sha256)."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def pick(items: Iterable[T], count: int | None, seed: int, key: Callable[[T], str]) -> list[T]:
    """Return the `count` items with the smallest draw of their key, in their first order; all of them for None."""
    everything = list(items)
    if count is None or len(everything) <= count:
        return everything
    ranked = sorted(range(len(everything)), key=lambda index: (draw(seed, key(everything[index])), index))
    return [everything[index] for index in sorted(ranked[:count])]


class Sample(Generic[T]):
    """The `count` items with the smallest draw of their key among those that it is given one by one.

    It holds no more than these. What it chooses is what `pick` would of the items whose keys differ: copies have the
    draw of their original, and would be drawn with it.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._heap: list[tuple[float, int, str, T]] = []
        self._held: dict[str, T] = {}
        self._given = 0

    @property
    def left_out(self) -> int:
        """How many items are not chosen, without those that `offer` has called copies."""
        return self._given - len(self._heap)

    def offer(self, item: T, key: str) -> T | None:
        """Take `item` in, or, if one of its key is among those chosen so far, return that one and leave this out."""
        # What was given up once has a larger draw than all that are held, so its copies are not taken either.
        if key in self._held:
            return self._held[key]
        # The largest draw is on top; the number of an item settles ties, so that items are never compared.
        heapq.heappush(self._heap, (-draw(self._seed, key), -self._given, key, item))
        self._held[key] = item
        self._given += 1
        if len(self._heap) > self._count:
            _, _, given_up, _ = heapq.heappop(self._heap)
            del self._held[given_up]
        return None

    def items(self) -> list[T]:
        """Return what was chosen, in the order in which it was given."""
        return [item for _, _, _, item in sorted(self._heap, key=lambda entry: -entry[1])]


class Classed(NamedTuple):
    """What decides on the side of a record: its class, its group, and the key that it is drawn by."""

    class_name: str
    group: str
    key: str


def split_per_class(records: Sequence[Classed], count: int, seed: int) -> tuple[dict[str, Split], set[int]]:
    """Return the split of every group, and the numbers of the records that are held out: `count` of each class.

    They are those with the smallest draws of their keys, so they do not depend on order and change little when records
    are added. Of a class with fewer records all are held out. The group of a drawn record leaves train with it; its
    other records are on neither side, unless drawn too. Groups of more than `count` records that are more than twice as
    large as the mean group stay in train: one draw would take them all.
    """
    sizes = Counter(record.group for record in records)
    largest = max(count, 2 * len(records) / max(1, len(sizes)))
    drawn: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for number, record in enumerate(records):
        if sizes[record.group] <= largest:
            drawn[record.class_name].append((draw(seed, record.key), number))
    chosen = {number for ranked in drawn.values() for _, number in heapq.nsmallest(count, ranked)}
    heldout = {records[number].group for number in chosen}
    return {name: "heldout" if name in heldout else "train" for name in sorted(sizes)}, chosen


def split_groups(groups: Iterable[str], share: float, seed: int) -> dict[str, Split]:
    """Return the split of every group, given the group of each record: see `heldout_units`."""
    sizes = dict(sorted(Counter(groups).items()))
    heldout = heldout_units(list(sizes.values()), [draw(seed, name) for name in sizes], share)
    return {name: "heldout" if is_heldout else "train" for name, is_heldout in zip(sizes, heldout, strict=True)}


def heldout_units(sizes: Sequence[int], draws: Sequence[float], share: float) -> list[bool]:
    """Return which units are held out, given their sizes in records and their draws: about `share` of the records.

    A unit that would make up more than a tenth of the held-out side, and is more than twice as large as the mean
    unit, stays in train: figures on a held-out side that is mostly one class would be figures on that class. The
    others are drawn at a rate that makes up for it. If by chance none is held out, the one with the smallest draw is.
    """
    if not sizes:
        return []
    total = sum(sizes)
    largest = max(_LARGEST_SHARE * share * total, 2 * total / len(sizes))
    rate = share * total / sum(size for size in sizes if size <= largest)
    heldout = [size <= largest and drawn < rate for size, drawn in zip(sizes, draws, strict=True)]
    if not any(heldout) and len(sizes) > 1:
        eligible = [unit for unit, size in enumerate(sizes) if size <= largest]
        heldout[min(eligible, key=lambda unit: draws[unit])] = True
    return heldout
