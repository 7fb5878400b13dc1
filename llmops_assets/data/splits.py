"""Draws by hash of a key: the same on every machine, in any order of records, and stable when a set grows."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
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
    """Return the split of every group, given the group of each record; about `share` of the records are held out.

    A group that would make up more than a tenth of the held-out side, and is more than twice as large as the mean
    group, stays in train: figures on a held-out side that is mostly one class would be figures on that class. The
    others are drawn at a rate that makes up for it. If by chance none is held out, the one with the smallest draw is.
    """
    sizes = Counter(groups)
    if not sizes:
        return {}
    total = sizes.total()
    largest = max(_LARGEST_SHARE * share * total, 2 * total / len(sizes))
    eligible = sorted(name for name, size in sizes.items() if size <= largest)
    rate = share * total / sum(sizes[name] for name in eligible)
    heldout = {name for name in eligible if draw(seed, name) < rate}
    if not heldout and len(sizes) > 1:
        heldout = {min(eligible, key=lambda name: draw(seed, name))}
    return {name: "heldout" if name in heldout else "train" for name in sorted(sizes)}
