"""What a built data set is: the files of its folder, and the figures that its asset page shows."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.data.sets.set_statistics import ConversationStatistics


class DataSetSummary(BaseModel):
    """Counts and token figures of one built data set; what the asset page shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    counts: dict[str, int] = Field(description="Records by outcome: kept, train, heldout, ...")
    quarantined: dict[str, int] = Field(description="Records by quarantine reason.")
    masked: dict[str, int] = Field(default={}, description="Places with personal data that were masked, by kind.")
    languages: dict[str, int] = Field(default={}, description="Documents that passed the other filters, by language.")
    generators: dict[str, int] = Field(default={}, description="Rows by what made them: dataset, extractive, ...")
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
