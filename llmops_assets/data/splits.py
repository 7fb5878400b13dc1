"""Draws by hash of a key: the same on every machine, in any order of records, and stable when a set grows."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeVar

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
