"""What became of the rows of a set: everything that is left out or shortened is counted under a name."""

from collections import Counter


class Counts:
    """Named counters; a name that was never added to is not in the result, a name that was added 0 is."""

    def __init__(self) -> None:
        self._counter: Counter[str] = Counter()

    def add(self, name: str, amount: int = 1) -> None:
        """Add `amount` to the counter `name`."""
        self._counter[name] += amount

    def as_dict(self) -> dict[str, int]:
        """Return all counters by name, in order of name."""
        return dict(sorted(self._counter.items()))
