"""Options that hold several values, separated by commas."""

import argparse
from collections.abc import Callable, Collection


def numbers(text: str) -> list[int]:
    """Return the numbers in `text`. Raises ValueError, which argparse reports."""
    return [int(part) for part in text.split(",")]


def names_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return a reader of names, each of which is one of `known`."""

    def names(text: str) -> list[str]:
        found = text.split(",")
        if unknown := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; choose from {', '.join(known)}")
        return found

    return names
