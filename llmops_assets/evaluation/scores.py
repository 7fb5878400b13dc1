"""What a measurement leaves behind: every example's score, so that two adapters can be compared pair by pair."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmops_assets.errors import LlmopsError
from llmops_assets.evaluation.specs import EvaluationSpec


class BrokenScores(LlmopsError):
    """A scores file is missing or does not follow its schema."""


class _Score(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    group: str = Field(description="Examples of one group are not independent and are resampled together.")


class DocumentScore(_Score):
    """Likelihood of one held-out document."""

    nll: float = Field(description="Summed negative log-likelihood of its tokens, in nats.")
    tokens: int = Field(gt=0, description="Tokens scored, each once.")
    bytes: int = Field(gt=0, description="UTF-8 length of the text that those tokens stand for.")


class QuestionScore(_Score):
    """One greedy answer beside its reference. Text metrics lie in [0, 1], higher is nearer to the reference."""

    prediction: str
    reference: str
    exact_match: float
    jaccard: float
    rouge1: float
    rouge2: float
    rouge_l: float
    bleu: float = Field(description="Sentence BLEU divided by 100.")
    answer_tokens: int = Field(ge=0, description="Generated tokens, without the end-of-turn token.")
    reference_tokens: int = Field(ge=0, description="Tokens of the reference, cut at max_new_tokens.")
    finished: bool = Field(description="The model ended its turn itself.")


class PairScore(_Score):
    """Summed log-probabilities of a chosen and a rejected answer, end-of-turn token included, in nats."""

    logp_chosen: float
    logp_rejected: float
    tokens_chosen: int = Field(gt=0)
    tokens_rejected: int = Field(gt=0)


class SkippedRow(BaseModel):
    """An input row that could not be measured, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    reason: str


class AdapterScores(BaseModel):
    """All measurements of one adapter, or of the base alone. Equal settings and inputs make two of them comparable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    adapter_sha256: str | None = Field(description="None for the base alone.")
    base_digest: str
    settings: EvaluationSpec
    inputs: dict[str, str] = Field(description="sha256 of each file read: perplexity, questions, preferences.")
    documents: list[DocumentScore] = []
    questions: list[QuestionScore] = []
    preferences: list[PairScore] = []
    corpus_bleu: float | None = Field(default=None, description="BLEU over all answers together, divided by 100.")
    skipped: list[SkippedRow] = []
    device: str = Field(description="Where it was measured, e.g. cpu/fp32.")
    seconds: float = Field(ge=0, description="Wall time of the measurements, model loading left out.")

    @property
    def name(self) -> str:
        """Key of this subject in a report's labels."""
        return self.adapter_sha256 or "base"

    @property
    def perplexity(self) -> float | None:
        """exp of the mean negative log-likelihood over all held-out tokens; None without documents."""
        tokens = sum(row.tokens for row in self.documents)
        return math.exp(self._nll / tokens) if tokens else None

    @property
    def bits_per_byte(self) -> float | None:
        """Negative log-likelihood in bits per UTF-8 byte, which does not depend on the tokenizer."""
        size = sum(row.bytes for row in self.documents)
        return self._nll / math.log(2) / size if size else None

    @property
    def _nll(self) -> float:
        return math.fsum(row.nll for row in self.documents)

    def question_mean(self, score: Callable[[QuestionScore], float]) -> float | None:
        """Mean of one figure over all questions; None without questions."""
        return _mean([score(row) for row in self.questions])

    @property
    def likelihood_accuracy(self) -> float | None:
        """Share of pairs whose chosen answer has the higher mean token log-probability; ties count one half."""
        return _mean(
            [
                preferred(row.logp_chosen / row.tokens_chosen - row.logp_rejected / row.tokens_rejected)
                for row in self.preferences
            ]
        )


def preferred(margin: float) -> float:
    """1 for a positive margin, 0 for a negative one, one half for a tie."""
    return 0.5 if margin == 0 else float(margin > 0)


def read_scores(path: Path) -> AdapterScores:
    """Read what the worker wrote. Raises BrokenScores with the key that is wrong."""
    try:
        return AdapterScores.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BrokenScores(f"{path}: cannot be read ({error.strerror}); run the evaluation again") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BrokenScores(f"{path}: {key}: {first['msg']}; run the evaluation again") from error


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
