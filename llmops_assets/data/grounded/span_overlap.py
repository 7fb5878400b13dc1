"""How much of an answer a text says in the same words."""

from collections.abc import Sequence


def span_overlap(answer: Sequence[str], text: Sequence[str], span_words: int) -> float:
    """Return the share of the words of `answer` that lie in runs of at least `span_words` that `text` has too.

    An answer shorter than that counts as one run. 1 is an answer put together from spans of the text, 0 one without
    any; an empty answer has 0.
    """
    size = min(span_words, len(answer))
    if not size:
        return 0.0
    known = {tuple(text[start : start + size]) for start in range(len(text) - size + 1)}
    covered = bytearray(len(answer))
    for start in range(len(answer) - size + 1):
        if tuple(answer[start : start + size]) in known:
            covered[start : start + size] = b"\x01" * size
    return sum(covered) / len(answer)
