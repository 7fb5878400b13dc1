"""Which language a text is in, by the naive Bayes model over byte n-grams of langid.py (Lui and Baldwin 2012)."""

from difflib import get_close_matches
from functools import cache
from typing import Any

# The codes that the model tells apart, as a list of their own: recipes are checked where the model is not installed.
_CODES = """
ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext fa fi fo fr fuv
fy ga gcf gcr gd gl gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is it ja jv ka kab kik kk km kn ko ku ky
la lb lg lij ln lo lt ltg lv mg mk ml mn mr ms mt my ne nl nn no nso oc om or pa pcm pl ps pt qu ro ru rw sa sdh
se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz uzs vec vi vo wa wuu xh yo yue zh zu zxx
"""
LANGUAGES = frozenset(_CODES.split())
# More of a text tells no more about its language.
_CHARACTERS = 2000


def checked_language(code: str) -> str:
    """Return `code` if the model knows such a language; raises ValueError with close ones if not."""
    if code in LANGUAGES:
        return code
    close = get_close_matches(code.lower(), sorted(LANGUAGES), n=3)
    suggestion = f"did you mean {' or '.join(close)}? " if close else ""
    raise ValueError(
        f"{code!r} is no language that is told apart; {suggestion}Write its ISO 639-1 code, such as en or de"
    )


def language_of(text: str) -> tuple[str, float]:
    """Return the ISO 639-1 code of the most probable language of `text`, and how probable it is.

    What is hardly a text, such as a table of numbers, is improbable in any language.
    """
    language, probability = _identifier().classify(text[:_CHARACTERS])
    return str(language), float(probability)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
