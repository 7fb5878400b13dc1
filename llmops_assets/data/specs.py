"""What the corpus and the SFT set can be told: the recipe's sections of these names, without their sources."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from llmops_assets.data.phone_regions import checked_region
from llmops_assets.data.quality.language import checked_language

LanguageCode = Annotated[str, AfterValidator(checked_language)]
PhoneRegion = Annotated[str, AfterValidator(checked_region)]


class QualitySpec(BaseModel):
    """Which documents are worth training on. Rules that are None are off; each rejects under a reason of its own.

    Those that are off by default are Gopher's (Rae et al. 2021, arXiv 2112.11446, table A1) and C4's (Raffel et al.
    2019, arXiv 1910.10683), for text of the web; code, tables and short notes break them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_words: int = Field(default=50, ge=0, description="Documents with fewer words are quarantined.")
    max_repetition: float = Field(
        default=0.3, gt=0, le=1, description="Largest share of characters in repeated lines (Gopher, arXiv 2112.11446)."
    )
    gopher_repetition: bool = Field(
        default=False, description="Gopher's limits on repeated lines, paragraphs and phrases of 2 to 10 words as well."
    )
    max_words: int | None = Field(default=None, gt=0, description="More words are too many; Gopher has 100,000.")
    min_word_characters: float | None = Field(
        default=None, gt=0, description="Least mean length of a word; Gopher has 3."
    )
    max_word_characters: float | None = Field(
        default=None, gt=0, description="Largest mean length of a word; Gopher has 10."
    )
    max_symbols: float | None = Field(default=None, ge=0, description="Most # and ellipses per word; Gopher has 0.1.")
    max_bullet_lines: float | None = Field(
        default=None, ge=0, le=1, description="Largest share of lines that begin with a bullet; Gopher has 0.9."
    )
    max_ellipsis_lines: float | None = Field(
        default=None, ge=0, le=1, description="Largest share of lines that end with an ellipsis; Gopher has 0.3."
    )
    min_alphabetic_words: float | None = Field(
        default=None, ge=0, le=1, description="Least share of words that have a letter; Gopher has 0.8."
    )
    min_stop_words: int | None = Field(
        default=None,
        ge=0,
        description="Least of the, be, to, of, and, that, have, with; Gopher has 2. English alone.",
    )
    max_boilerplate_lines: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Largest share of lines about cookies, JavaScript, terms of use, privacy, or lorem ipsum (C4).",
    )

    @model_validator(mode="after")
    def _some_length_is_right(self) -> "QualitySpec":
        if self.max_words is not None and self.min_words > self.max_words:
            raise ValueError(
                f"min_words = {self.min_words} is more than max_words = {self.max_words}, so that no document is left; "
                "lower min_words, or raise max_words"
            )
        least, most = self.min_word_characters, self.max_word_characters
        if least is not None and most is not None and least > most:
            raise ValueError(
                f"min_word_characters = {least} is more than max_word_characters = {most}, so that no document is "
                "left; lower the one, or raise the other"
            )
        return self


class CorpusSpec(QualitySpec):
    """How documents become a CPT corpus: clean, filter, deduplicate, split, balance, chunk."""

    languages: list[LanguageCode] | None = Field(
        default=None, min_length=1, description="Keep documents in these languages (ISO 639-1); None keeps all."
    )
    min_language_probability: float = Field(
        default=0.5, gt=0, le=1, description="Another language counts from this probability on; code has none."
    )
    pii: Literal["keep", "mask", "drop"] = Field(
        default="keep",
        description="E-mail and IP addresses, cards, IBANs, phone numbers, keys: replace them, or drop such documents.",
    )
    phone_region: PhoneRegion | None = Field(
        default=None, description="Country whose phone numbers are found without +, such as US."
    )
    near_duplicate_threshold: float = Field(
        default=0.8, gt=0, le=1, description="Documents at or above this Jaccard similarity of 5-word shingles are one."
    )
    cluster_similarity: float = Field(
        default=0.5, gt=0, le=1, description="Documents at or above this similarity are on one side of the split."
    )
    source_temperature: float = Field(
        default=1, ge=1, description="Shares of sources are made equal by tokens ** (1 / temperature); 1 keeps them."
    )
    max_source_share: float | None = Field(
        default=None, gt=0, le=1, description="No source has more than this share of the train tokens."
    )
    max_source_tokens: int | None = Field(default=None, gt=0, description="No source has more train tokens than these.")
    chunk_tokens: int = Field(default=512, ge=16, description="Longest chunk, in tokens of the base model.")
    chunk_overlap: int = Field(
        default=0, ge=0, description="Tokens of a document that a chunk repeats of the one before it, at most."
    )
    heldout_share: float = Field(default=0.05, gt=0, lt=0.5, description="Share of documents held out, by hash.")
    max_quarantined_share: float = Field(
        default=0.5, gt=0, le=1, description="The asset fails when more documents than this are malformed or empty."
    )
    seed: int = Field(default=7, ge=0, description="Salt of the hash that draws the held-out documents.")

    @model_validator(mode="after")
    def _values_fit_together(self) -> "CorpusSpec":
        if self.chunk_overlap > self.chunk_tokens // 2:
            raise ValueError("chunk_overlap must be at most half of chunk_tokens")
        if self.cluster_similarity > self.near_duplicate_threshold:
            raise ValueError("cluster_similarity must be at most near_duplicate_threshold")
        return self


class SftSetSpec(BaseModel):
    """How records become an SFT set of `messages` with a train and an eval split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system_prompt: str | None = Field(default=None, description="Put before every conversation without a system turn.")
    max_tokens: int = Field(default=512, ge=16, description="Longer conversations are quarantined, never cut.")
    near_duplicate_threshold: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Conversations at or above this Jaccard similarity of 5-word shingles are one, and none in eval is "
        "so like one in train, by all turns or by the question. Without it, only equal ones are. Not for a set whose "
        "questions share a long template.",
    )
    max_examples: int | None = Field(default=None, gt=0, description="Keep this many conversations, chosen by hash.")
    eval_share: float = Field(default=0.1, gt=0, lt=0.5, description="Share of groups (APIs, documents) for eval.")
    max_eval_examples: int = Field(default=200, gt=0, description="Eval is cut to this many, chosen by hash.")
    val_per_class: int | None = Field(
        default=None,
        gt=0,
        description="Hold out this many of each class, chosen by hash, in place of eval_share; eval is then not cut.",
    )
    max_quarantined_share: float = Field(default=0.2, gt=0, le=1, description="The asset fails above this share.")
    seed: int = Field(default=7, ge=0, description="Salt of every hash that draws examples.")

    @model_validator(mode="after")
    def _one_rule_splits(self) -> "SftSetSpec":
        if self.val_per_class is not None and self.eval_share != SftSetSpec.model_fields["eval_share"].default:
            raise ValueError("eval_share is not read with val_per_class; keep one of the two")
        return self
