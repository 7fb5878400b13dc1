"""Which language a text is in, by the naive Bayes model over byte n-grams of langid.py (Lui and Baldwin 2012)."""

from functools import cache
from typing import Any

# More of a text tells no more about its language.
_CHARACTERS = 2000


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
