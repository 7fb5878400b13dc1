"""What the data stages can be told: the recipe's `corpus` and `sft_set` sections."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from llmops_assets.data.formats.conversations import ConversationFormat
from llmops_assets.data.formats.eval_items import EvalFormat
from llmops_assets.data.formats.preferences import PreferenceFormat
from llmops_assets.data.licenses import UNKNOWN, License
from llmops_assets.data.set_statistics import ConversationStatistics

AnySource = TypeVar("AnySource", bound="SourceSpec")


class SourceSpec(BaseModel):
    """Base of all sources. `name` is what quarantine files and mix reports call it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")


class MixedSource(SourceSpec):
    """A source of conversations, of which train may hold an asked share."""

    weight: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Its share of train's tokens is this over the sum of all weights; all sources have one, or none.",
    )
    max_repeats: int = Field(
        default=1, ge=1, description="How often a conversation may stand in train for its source to reach its share."
    )

    @model_validator(mode="after")
    def _repeats_fill_a_share(self) -> "MixedSource":
        if self.max_repeats > 1 and self.weight is None:
            raise ValueError("max_repeats is not read without weight; give the source a weight, or remove it")
        return self


def _names_differ(sources: list[AnySource]) -> list[AnySource]:
    # Each is an asset, and Dagster's names of steps know neither dots nor dashes.
    names = [source.name.replace("-", "_").replace(".", "_") for source in sources]
    if twice := next((source.name for source, name in zip(sources, names, strict=True) if names.count(name) > 1), None):
        raise ValueError(f"two sources have the name {twice!r}, but for dots and dashes; rename one")
    return sources


def _weights_of_all_or_none(sources: list[AnySource]) -> list[AnySource]:
    without = [source.name for source in sources if isinstance(source, MixedSource) and source.weight is None]
    if without and len(without) < len(sources):
        raise ValueError(f"some sources have a weight, and {', '.join(without)} has none; give all one, or none")
    return sources


class PythonTopicsSource(SourceSpec):
    """The language reference topics that ship with the running Python (`pydoc_data.topics`)."""

    kind: Literal["python_topics"] = "python_topics"


class PythonStdlibSource(SourceSpec):
    """Docstrings of the running Python's standard library."""

    kind: Literal["python_stdlib"] = "python_stdlib"


class FilesSource(SourceSpec):
    """Files, as they are or packed (.gz, .zst): JSON Lines, JSON lists and Parquet hold records."""

    kind: Literal["files"] = "files"
    pattern: str = Field(
        description="Glob relative to the recipe's folder, or absolute; or a URL (s3://, https://, lakefs://)."
    )
    license: License = Field(default=UNKNOWN, description="SPDX expression of the source.")


class TextFilesSource(FilesSource):
    """Documents: records with a `text`, and files of plain text, Markdown, HTML or code."""

    documents: Literal["file", "line", "paragraph"] = Field(
        default="file",
        description="What is one document of a .txt or .md file: all of it, a line, or what is between empty lines.",
    )


class ThumbFilesSource(FilesSource):
    """Conversations with a thumb for their last answer, in one of the layouts of docs/data.md."""

    format: ConversationFormat = Field(
        default="auto", description="Layout of the records; auto tells each record's by its keys."
    )
    max_records: int | None = Field(default=None, gt=0, description="Keep this many records, chosen by hash.")


class ConversationFilesSource(ThumbFilesSource, MixedSource):
    """Conversations, in one of the layouts of docs/data.md."""

    class_key: str | None = Field(
        default=None, description="Key of a record's class, for val_per_class; without it, `category` or `class`."
    )


class HubSource(SourceSpec):
    """A data set of the Hugging Face hub, read through `datasets.load_dataset` at a pinned revision."""

    kind: Literal["hub"] = "hub"
    dataset: str = Field(
        description="Hub id, a name of docs/data.md such as alpaca, or a local folder (./alpaca) for load_dataset."
    )
    subset: str | None = None
    folder: str | None = Field(default=None, description="Read this folder of the data set alone, as in hh_rlhf.")
    split: str = "train"
    revision: str | None = Field(default=None, description="Commit; a moving branch cannot be reproduced.")
    max_records: int | None = Field(default=None, gt=0, description="Keep this many records, chosen by hash.")
    license: License = Field(default=UNKNOWN, description="SPDX expression of the source.")


class HubTextSource(HubSource):
    """Texts in one column."""

    column: str = Field(default="text", description="Column with the text.")


class HubConversationsSource(HubSource, MixedSource):
    """Conversations, in one of the layouts of docs/data.md."""

    column: str | None = Field(
        default=None, description="Column with a list of turns; without it, whole rows are read as `format` says."
    )
    format: ConversationFormat = Field(default="auto", description="Layout of the rows; auto tells each by its keys.")
    class_key: str | None = Field(
        default=None, description="Column of a row's class, for val_per_class; without it, `category` or `class`."
    )

    @model_validator(mode="after")
    def _column_or_layout(self) -> "HubConversationsSource":
        if self.column is not None and self.format != "auto":
            raise ValueError("column holds turns, whose layout needs no format; keep one of the two")
        return self


class PreferenceFilesSource(FilesSource):
    """Preference pairs, in one of the layouts of docs/data.md."""

    format: PreferenceFormat = Field(default="auto", description="Layout of the records; auto tells each by its keys.")


class HubPreferencesSource(HubSource):
    """Preference pairs, in one of the layouts of docs/data.md."""

    format: PreferenceFormat = Field(default="auto", description="Layout of the rows; auto tells each by its keys.")


class EvalFilesSource(TextFilesSource):
    """Eval items, in one of the layouts of docs/data.md, or texts for perplexity."""

    format: EvalFormat = Field(default="auto", description="Layout of the records; auto tells each by its keys.")


class HubEvalSource(HubSource):
    """Eval items, in one of the layouts of docs/data.md."""

    split: str = Field(default="test", description="Split of the data set.")
    format: EvalFormat = Field(default="auto", description="Layout of the rows; auto tells each by its keys.")


class RegistrySource(SourceSpec):
    """A data set of a LLaMA-Factory registry, read as its entry says."""

    kind: Literal["registry"] = "registry"
    file: str = Field(description="Its dataset_info.json: relative to the recipe's folder, absolute, or a URL.")
    dataset: str = Field(description="Name of the entry.")
    revision: str | None = Field(default=None, description="Commit of the entry's hub data set.")
    license: License = Field(default=UNKNOWN, description="SPDX expression of the source.")


class RegistryTextSource(RegistrySource):
    """Texts of the entry's column `prompt`."""


class RegistryConversationsSource(RegistrySource, MixedSource):
    """Conversations of the entry's columns."""


class RegistryPreferencesSource(RegistrySource):
    """Preference pairs of an entry with `ranking`."""


class RegistryThumbsSource(RegistrySource):
    """Thumbs of an entry with a column `kto_tag`."""


class ExtractedSource(MixedSource):
    """Question-answer pairs extracted from the lane's own corpus: verbatim spans, labelled `extractive`."""

    kind: Literal["extracted"] = "extracted"


class SelfInstructSource(MixedSource):
    """The rows of the lane's `instructions` asset, which a model wrote from seed tasks."""

    kind: Literal["self_instruct"] = "self_instruct"


class GroundedSource(MixedSource):
    """The rows of the lane's `grounded_pairs` asset, which a model wrote about the lane's corpus."""

    kind: Literal["grounded"] = "grounded"


GeneratedSource = SelfInstructSource | GroundedSource
CorpusSource = Annotated[
    PythonTopicsSource | PythonStdlibSource | TextFilesSource | HubTextSource | RegistryTextSource,
    Field(discriminator="kind"),
]
SftSource = Annotated[
    ExtractedSource
    | SelfInstructSource
    | GroundedSource
    | ConversationFilesSource
    | HubConversationsSource
    | RegistryConversationsSource,
    Field(discriminator="kind"),
]
PreferenceSource = Annotated[
    PreferenceFilesSource | HubPreferencesSource | RegistryPreferencesSource, Field(discriminator="kind")
]
# Without a kind, thumbs are those of files.
ThumbsSource = Annotated[
    Annotated[ThumbFilesSource, Tag("files")] | Annotated[RegistryThumbsSource, Tag("registry")],
    Discriminator(lambda given: given.get("kind", "files") if isinstance(given, dict) else given.kind),
]
EvalSource = Annotated[EvalFilesSource | HubEvalSource, Field(discriminator="kind")]
# Sources whose names differ, at least one.
Sources = Annotated[list[AnySource], Field(min_length=1), AfterValidator(_names_differ)]
SftSources = Annotated[Sources[SftSource], AfterValidator(_weights_of_all_or_none)]


LanguageCode = Annotated[str, Field(pattern="^[a-z]{2,3}$")]


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
    phone_region: str | None = Field(
        default=None, pattern="^[A-Z]{2}$", description="Country whose phone numbers are found without +, such as US."
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


class DataSetSummary(BaseModel):
    """Counts and token figures of one built data set; what the asset page shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    counts: dict[str, int] = Field(description="Records by outcome: kept, train, heldout, ...")
    quarantined: dict[str, int] = Field(description="Records by quarantine reason.")
    masked: dict[str, int] = Field(default={}, description="Places with personal data that were masked, by kind.")
    languages: dict[str, int] = Field(default={}, description="Documents that passed the other filters, by language.")
    formats: dict[str, dict[str, int]] = Field(default={}, description="Per source of records: how many had a layout.")
    sources: dict[str, dict[str, int]] = Field(description="Per source: read, kept, tokens, ...")
    source_hashes: dict[str, str] = Field(description="Content hash of each source.")
    licenses: dict[str, str] = Field(description="SPDX expression of each source.")
    tokens: dict[str, int] = Field(description="Tokens by split.")
    tokens_per_row: dict[str, int] = Field(description="Of the train rows: min, mean, p50, p95 and max tokens.")
    token_histogram: dict[str, int] = Field(description="Rows by token-count band, e.g. '65-128': 120.")
    shares: dict[str, float] = Field(default={}, description="Share of train's tokens asked of each weighted source.")
    shares_limited_by: str | None = Field(default=None, description="Weighted source with no more to give, or limit.")
    classes: dict[str, dict[str, int]] = Field(default={}, description="Per class: rows in train and in heldout.")
    val_per_class: int | None = Field(default=None, description="Rows asked of each class in heldout.")
    statistics: ConversationStatistics | None = Field(default=None, description="Lengths and turns of conversations.")


class DataSetFiles(BaseModel):
    """The files of one data set folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path

    @property
    def train(self) -> Path:
        return self.folder / "train.jsonl"

    @property
    def heldout(self) -> Path:
        return self.folder / "heldout.jsonl"

    @property
    def documents(self) -> Path:
        return self.folder / "documents.jsonl"

    @property
    def quarantine(self) -> Path:
        return self.folder / "quarantine.jsonl"
