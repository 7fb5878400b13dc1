"""What a recipe says about its teacher. Imports no torch, so that the Dagster layer may use it."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TeacherSpec(BaseModel):
    """The model that a student of knowledge distillation learns from, and how it is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        min_length=1,
        description="`embedded`, a folder (relative ones start at the recipe's folder), or a hub id; it has the "
        "student's tokenizer.",
    )
    revision: str | None = Field(default=None, description="Commit of the hub repository; pin it.")
    adapter: Path | None = Field(
        default=None, description="Folder of a LoRA that was trained on this model, seen from the recipe's folder."
    )
    precision: Literal["fp32", "bf16"] = Field(default="bf16", description="Weights and compute.")
    quantization: Literal["none", "8bit", "4bit"] = Field(
        default="none", description="8bit is LLM.int8, 4bit is NF4: for a teacher that would not fit otherwise."
    )
    batch_size: int = Field(default=16, gt=0, description="Conversations per forward pass, of like length.")
    max_new_tokens: int = Field(default=256, gt=0, description="Longest answer in tokens; method: sequence only.")
    temperature: float = Field(
        default=0.0, ge=0, description="0 takes the likeliest token, else answers are sampled; method: sequence only."
    )
    seed: int = Field(default=7, ge=0, description="With a row's id it fixes every draw; method: sequence only.")

    @model_validator(mode="after")
    def _quantization_computes_in_bfloat16(self) -> "TeacherSpec":
        if self.quantization != "none" and self.precision != "bf16":
            raise ValueError(f"quantization: {self.quantization} computes in bfloat16; set precision: bf16")
        return self


class RecordingSpec(BaseModel):
    """What a recording depends on beside teacher and rows: students that agree on it share one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    top_k: int = Field(gt=0, description="Tokens whose log-prob is kept at each position; the rest is one tail mass.")
    precision: Literal["fp32", "bf16"] = Field(default="bf16", description="The teacher's weights and compute.")
    quantization: Literal["none", "8bit", "4bit"] = Field(default="none", description="The teacher's weights.")
    batch_size: int = Field(default=16, gt=0, description="Conversations per forward pass.")

    @classmethod
    def of(cls, teacher: TeacherSpec, top_k: int) -> Self:
        """Return how `teacher` is recorded for a student that keeps `top_k` tokens."""
        return cls(top_k=top_k, **teacher.model_dump(include={"precision", "quantization", "batch_size"}))


class AnsweringSpec(BaseModel):
    """What a teacher's answers depend on beside teacher and prompts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: Literal["fp32", "bf16"] = Field(default="bf16", description="The teacher's weights and compute.")
    quantization: Literal["none", "8bit", "4bit"] = Field(default="none", description="The teacher's weights.")
    batch_size: int = Field(default=16, gt=0, description="Answers generated at once.")
    max_new_tokens: int = Field(default=256, gt=0, description="Longest answer in tokens; longer ones are left out.")
    temperature: float = Field(default=0.0, ge=0, description="0 takes the likeliest token, else answers are sampled.")
    seed: int = Field(default=7, ge=0, description="With a row's id it fixes every draw.")

    @classmethod
    def of(cls, teacher: TeacherSpec) -> Self:
        """Return how `teacher` answers."""
        return cls(**teacher.model_dump(exclude={"name", "revision", "adapter"}))
