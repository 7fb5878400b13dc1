"""What a word is: a run of letters, digits and underscores with case folded, or a character of an unspaced script."""

import re

# Han, Hiragana and Katakana stand without spaces: each character counts as a word.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


def words_of(text: str) -> list[str]:
    """Return the words of `text` with case folded; in scripts without spaces, its characters."""
    return _WORD.findall(text.casefold())
