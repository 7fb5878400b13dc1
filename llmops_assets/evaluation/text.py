"""Text metrics that treat every script alike: exact match, token Jaccard, ROUGE and BLEU, per example."""

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from llmops_assets.data.words import words_of

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics.bleu import BLEU

_SENTENCE_END = ".!?\u3002\uff01\uff1f\u0964"


class TextScores(NamedTuple):
    """Scores of one prediction against one reference, each in [0, 1]."""

    exact_match: float
    jaccard: float
    rouge1: float
    rouge2: float
    rouge_l: float
    bleu: float


class UnicodeTokenizer:
    """Words of any script, folded; rouge-score's own tokenizer drops everything outside [a-z0-9]."""

    def tokenize(self, text: str) -> list[str]:
        """Tokens of `text` in order: see `words_of`."""
        return words_of(fold(text))


def fold(text: str) -> str:
    """Compatibility-normalized (NFKC) and case-folded text."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def exact_match(prediction: str, reference: str) -> float:
    """1.0 if the texts are equal after folding, white-space collapsing and removing the final sentence mark."""
    return float(_normalized(prediction) == _normalized(reference))


def jaccard(prediction: str, reference: str) -> float:
    """Shared share of the two sets of tokens; two texts without any token are alike (1.0)."""
    left, right = set(UnicodeTokenizer().tokenize(prediction)), set(UnicodeTokenizer().tokenize(reference))
    return len(left & right) / len(left | right) if left or right else 1.0


def score_text(prediction: str, reference: str) -> TextScores:
    """All metrics of one pair. ROUGE (Lin 2004) is the F1 value; BLEU (Papineni et al. 2002) is the sentence
    score with effective order and exponential smoothing, over the tokens of UnicodeTokenizer."""
    rouge = _rouge_scorer().score(reference, prediction)
    return TextScores(
        exact_match=exact_match(prediction, reference),
        jaccard=jaccard(prediction, reference),
        rouge1=float(rouge["rouge1"].fmeasure),
        rouge2=float(rouge["rouge2"].fmeasure),
        rouge_l=float(rouge["rougeL"].fmeasure),
        bleu=_bleu(sentence=True).sentence_score(_spaced(prediction), [_spaced(reference)]).score / 100,
    )


def corpus_bleu(predictions: Sequence[str], references: Sequence[str]) -> float:
    """BLEU over a whole set, in [0, 1]: n-gram counts are summed before the precisions are taken."""
    score = _bleu(sentence=False).corpus_score(
        [_spaced(text) for text in predictions], [[_spaced(text) for text in references]]
    )
    return score.score / 100


def _normalized(text: str) -> str:
    return " ".join(fold(text).split()).rstrip(_SENTENCE_END).rstrip()


def _spaced(text: str) -> str:
    return " ".join(UnicodeTokenizer().tokenize(text))


@cache
def _rouge_scorer() -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=UnicodeTokenizer())


@cache
def _bleu(*, sentence: bool) -> "BLEU":
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize="none", effective_order=sentence, force=True)
