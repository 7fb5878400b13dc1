"""What a word is, in any script: the one definition that filters, duplicates, ROUGE and coverage share."""

import regex

# Scripts that are written without spaces between words; the last two are signs that kana share.
_SCRIPTS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\u30fc\uff70"
_ALONE = rf"[[{_SCRIPTS}]&&\p{{L}}]"
_INSIDE = rf"[\p{{L}}\p{{N}}\p{{M}}_--{_ALONE}]"
UNSPACED = regex.compile(rf"(?V1){_ALONE}")
INSIDE_WORDS = regex.compile(rf"(?V1){_INSIDE}")
MARK = regex.compile(r"\p{M}")
_WORD = regex.compile(rf"(?V1){_ALONE}\p{{M}}*|{_INSIDE}+")


def words_of(text: str) -> list[str]:
    """Return the words of `text` with case folded.

    A word is a run of letters, digits and underscores; in scripts without spaces, a letter. Marks belong to what they
    follow: without them, words of Hindi or Arabic would be cut.
    """
    return _WORD.findall(text.casefold())
