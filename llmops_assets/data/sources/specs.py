"""What the sources of a recipe can be told: where records come from, and in which layout."""

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from llmops_assets.data.formats.conversations import ConversationFormat
from llmops_assets.data.formats.eval_items import EvalFormat
from llmops_assets.data.formats.preferences import PreferenceFormat
from llmops_assets.data.licenses import UNKNOWN, License

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


def _not_empty(pattern: str) -> str:
    if not pattern.strip():
        raise ValueError("the pattern is empty; write a path such as ../../data/*.jsonl, or a URL")
    return pattern


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
    pattern: Annotated[str, AfterValidator(_not_empty)] = Field(
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

    @model_validator(mode="after")
    def _is_used_whole(self) -> "HubEvalSource":
        if self.max_records is not None:
            raise ValueError("max_records is not for eval sets, which are used whole; remove it")
        return self


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
