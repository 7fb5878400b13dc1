"""Text normalization that keeps code, mathematics and every script: canonical form, newlines, control characters."""

import re
import unicodedata
from collections.abc import Iterable

_NEWLINES = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# Everything of category Cc except tab and newline, the byte-order mark, and the noncharacters of the basic plane.
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufdd0-\ufdef\ufffe\uffff]")
# The look-behind keeps a long run of spaces inside a line from being tried from each of its positions.
_TRAILING_SPACES = re.compile(r"(?<![ \t])[ \t]+(?=\n|\Z)")
_PLAIN = bytes([*b"\t\n", *range(0x20, 0x7F)])
_CHAT_MARKER = re.compile(r"<\|[^|<>\s]{1,64}\|>")


def normalize_text(text: str) -> str:
    """Return `text` in NFC with `\\n` newlines, without control characters and spaces at line ends.

    NFC and not NFKC: superscripts, ligatures and full-width forms carry meaning in code and mathematics. Indentation,
    joiners of scripts and emoji, and blank lines stay as they are.
    """
    if not _is_plain(text):
        text = _CONTROLS.sub("", unicodedata.normalize("NFC", _NEWLINES.sub("\n", text)))
    if " \n" in text or "\t\n" in text or text.endswith((" ", "\t")):
        text = _TRAILING_SPACES.sub("", text)
    return text


def _is_plain(text: str) -> bool:
    """Return whether `text` is ASCII without control characters; it is what most texts are, and quick to see."""
    return text.isascii() and not text.encode("ascii").translate(None, _PLAIN)


def collapse_whitespace(text: str) -> str:
    """Return `text` with every run of white space as one space and none at the ends."""
    return " ".join(text.split())


def comparison_key(text: str) -> str:
    """Return the form in which two texts are the same for deduplication: case and white space folded."""
    return collapse_whitespace(text).casefold()


class SpecialTokenGuard:
    """Keeps data from speaking in the tokenizer's control language.

    A tokenizer reads `<|im_end|>` inside a text as the end of the turn. The guard puts a space after the first
    character of every such marker (`< |im_end|>`), so that it stays legible but is ordinary text to the tokenizer.
    """

    def __init__(self, special_tokens: Iterable[str] = ()) -> None:
        """Guard against all `<|...|>` markers and, besides, the `special_tokens` of the tokenizer in use."""
        self._own = [token for token in sorted(special_tokens, key=len, reverse=True) if len(token) > 1]
        self._pattern = re.compile("|".join([*map(re.escape, self._own), _CHAT_MARKER.pattern]))

    def neutralize(self, text: str) -> tuple[str, int]:
        """Return `text` without live markers, and how many there were."""
        if "<|" not in text and not any(token in text for token in self._own):
            return text, 0
        total = 0
        while True:
            text, count = self._pattern.subn(lambda match: f"{match[0][0]} {match[0][1:]}", text)
            if not count:
                return text, total
            total += count
