"""The job file of the process that prepares rows, and the settings that make prepared rows what they are."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.specs import Stage, StageSpec

LongRows = Literal["drop", "drop_turns", "cut_prompt", "error"]


class PreparationSpec(BaseModel):
    """The part of a stage's settings that its rows depend on: two stages that agree on it share their rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: Stage
    max_length: int = Field(gt=1, description="Tokens per row.")
    validation_share: float = Field(ge=0, lt=0.5, description="Share of rows, drawn by hash, for the validation loss.")
    long_rows: LongRows = Field(default="drop", description="What becomes of a row beyond max_length.")
    packed: bool = Field(default=False, description="Fill rows with whole documents or conversations to max_length.")

    @classmethod
    def of(cls, spec: StageSpec) -> Self:
        """Return what the rows of a stage with `spec` depend on."""
        stage = spec.model_dump()
        return cls(
            stage=stage["stage"],
            max_length=spec.max_length,
            validation_share=spec.validation_share,
            long_rows=stage.get("long_rows", "drop"),
            packed=stage["stage"] == "cpt" or stage.get("batching") == "packed",
        )

    def applied_to(self, spec: StageSpec) -> dict[str, Any]:
        """Return the keys of `spec` that these rows decide, with their values."""
        decided: dict[str, Any] = {"max_length": self.max_length, "validation_share": self.validation_share}
        fields = type(spec).model_fields
        if "long_rows" in fields:
            decided["long_rows"] = self.long_rows
        if "batching" in fields and self.packed:
            decided["batching"] = "packed"
        return decided


class PreparationJob(BaseModel):
    """What one preparation process reads and writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    asset: str
    spec: PreparationSpec
    base_model: BaseModelRef
    set_file: Path = Field(description="JSON Lines of the data set that the rows are made from.")
    output_dir: Path = Field(description="Receives train.arrow, validation.arrow and, last, rows.json.")
