"""What a training process is given and what it leaves: its job file, the models that it names, its result."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.training.specs import AnyStageSpec


class BaseModelRef(BaseModel):
    """A base model: a local folder, or a hub repository at one revision."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Local folder or hub id, as `from_pretrained` takes it.")
    revision: str | None = Field(default=None, description="Commit of the hub repository.")
    digest: str = Field(description="sha256 of the weights for a local folder, else `name@revision`.")


class AdapterRef(BaseModel):
    """What a training leaves: a folder with a LoRA and its adapter_config.json, or with a whole model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    kind: Literal["lora", "full"] = "lora"
    sha256: str = Field(description="sha256 of adapter_model.safetensors; for a whole model the digest of its weights.")
    base_digest: str = Field(description="Digest of the base that it was trained on.")
    merged: tuple["AdapterRef", ...] = Field(
        default=(), description="What was merged into the base, or replaced its weights, before this one; oldest first."
    )


class TrainingJob(BaseModel):
    """The spec file of one training process: everything that it reads comes from here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    recipe: str
    asset: str
    fingerprint: str
    spec: AnyStageSpec
    base_model: BaseModelRef
    parent: AdapterRef | None = None
    rows: Path = Field(description="Folder of prepared rows: train.arrow, validation.arrow if there is one, rows.json.")
    reference_log_probs: Path | None = Field(
        default=None, description="DPO: folder with the reference policy's log-probs of the rows of `rows`."
    )
    teacher_logits: Path | None = Field(
        default=None, description="Logit KD: folder with the teacher's log-probs at the rows of `rows`."
    )
    inputs: dict[str, str] = Field(description="Data version of every input, by name.")
    deepspeed_config: dict[str, Any] | None = Field(default=None, description="Content of configs/deepspeed/*.json.")
    output_dir: Path = Field(description="Receives the adapter; training_result.json is written there last.")
    checkpoint_dir: Path


class TrainingResult(BaseModel):
    """What rank 0 writes last, atomically: the proof that training ended, and the facts for the run card."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    adapter_sha256: str
    steps: int
    resumed_from_step: int | None
    world_sizes: dict[int, int] = Field(
        description="Number of ranks by the step from which on they trained; two entries for a run that was resumed "
        "on another number of ranks."
    )
    metrics: dict[str, float] = Field(description="Last and mean figures, named as in metrics.jsonl.")
    tokens_seen: int
    train_seconds: float
    engine: str = Field(description="Class of the engine that ran, e.g. DeepSpeedZeroOptimizer.")
    reference: dict[str, float | str] | None = Field(
        default=None, description="DPO only: sha256 of the reference and the log-prob check against the parent."
    )
    environment: dict[str, str | int | float | bool | None]
