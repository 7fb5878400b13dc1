"""What an evaluation can be told, and the gate's policy: the recipe's `evaluation` section."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class EvaluationSpec(BaseModel):
    """Settings of the measurements. The same settings are used for every adapter that a report compares."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    perplexity_window: int = Field(default=512, gt=1, description="Tokens the model sees at once.")
    perplexity_stride: int = Field(default=256, gt=0, description="Tokens scored per window step.")
    max_perplexity_tokens: int = Field(default=60_000, gt=0, description="Held-out tokens scored, documents by hash.")
    max_questions: int = Field(default=150, gt=0, description="Held-out questions answered, chosen by hash.")
    max_new_tokens: int = Field(default=64, gt=0, description="Longest generated answer in tokens.")
    generation_batch: int = Field(default=32, gt=0, description="Questions answered at once.")
    seed: int = Field(default=7, ge=0, description="Chooses the rows that are measured; seeds the bootstrap.")

    @model_validator(mode="after")
    def _windows_overlap(self) -> "EvaluationSpec":
        if self.perplexity_stride >= self.perplexity_window:
            raise ValueError("perplexity_stride must be less than perplexity_window, or tokens would lack any context")
        return self


class GatePolicy(BaseModel):
    """What a challenger must show. Margins are non-inferiority margins on paired differences."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Two-sided level of every interval.")
    min_examples: int = Field(default=30, gt=0, description="Fewer paired examples are INCONCLUSIVE.")
    rouge_l_margin: float = Field(default=0.01, ge=0, description="ROUGE-L may fall at most this much.")
    exact_match_margin: float = Field(default=0.02, ge=0, description="Exact match may fall at most this much.")
    perplexity_ratio: float = Field(
        default=1.02, ge=1, description="Held-out perplexity may grow at most by this factor."
    )
    sft_perplexity_ratio: float = Field(
        default=1.25, ge=1, description="The same for SFT, which trades some raw text for following instructions."
    )
    length_ratio: float = Field(
        default=1.5, ge=1, description="Mean answer length may change at most by this factor, up or down."
    )
    preference_accuracy: float = Field(
        default=0.5, ge=0, lt=1, description="DPO: the lower bound of held-out preference accuracy must exceed this."
    )
