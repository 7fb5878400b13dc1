"""What a recipe says about its teacher. Imports no torch, so that the Dagster layer may use it."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TeacherSpec(BaseModel):
    """The model that a student of knowledge distillation learns from, and how it is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        min_length=1, description="`embedded`, a local folder, or a hub id; it has the student's tokenizer."
    )
    revision: str | None = Field(default=None, description="Commit of the hub repository; pin it.")
    adapter: Path | None = Field(default=None, description="Folder of a LoRA that was trained on this model.")
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
