"""What the process that records a teacher is given, and what it leaves."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.training.distillation.specs import RecordingSpec
from llmops_assets.training.job import AdapterRef, BaseModelRef

RESULT_FILE = "teacher_logits.json"


class TeacherRef(BaseModel):
    """A teacher whose bytes are known: what its recordings and answers are keyed by.

    `settings` are digests of what stands beside its weights; of a base of the hub the revision fixes that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_model: BaseModelRef
    adapter: AdapterRef | None = None
    settings: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The base's digest, with those of the adapter and of the settings if there are any."""
        adapter = () if self.adapter is None else (self.adapter.sha256,)
        return "+".join([self.base_model.digest, *adapter, *self.settings])


class TeacherLogitsJob(BaseModel):
    """What one recording process reads and writes. It depends on no setting of a student but its rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    teacher: TeacherRef
    spec: RecordingSpec
    student: BaseModelRef = Field(description="Base model whose tokenizer made the rows.")
    rows: Path = Field(description="Folder of prepared rows: train.arrow, validation.arrow if there is one.")
    output_dir: Path = Field(description="Receives train.arrow, validation.arrow and, last, teacher_logits.json.")


class TeacherLogitsResult(BaseModel):
    """What was recorded; the file is written last and proves the others whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    teacher: str = Field(description="Digest of the teacher.")
    vocabulary: int = Field(description="Tokens over which the distributions are normalized.")
    top_k: int
    train_rows: int
    validation_rows: int
    positions: int = Field(description="Recorded positions: the labelled ones.")
    mean_tail_mass: float = Field(description="Mean probability outside the kept tokens.")
    label_nll: float = Field(description="The teacher's mean negative log-likelihood of the labels, in nats.")
    label_accuracy: float = Field(description="Share of labels that are the teacher's likeliest token.")
    bytes: int
    seconds: float
