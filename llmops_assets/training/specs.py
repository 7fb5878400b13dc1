"""What a training stage can be told: one schema for the recipe, the Dagster launchpad and the worker.

Specs are flat on purpose: Dagster's launchpad config refuses nested plain models.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Backend = Literal["plain", "ddp", "zero1", "zero2", "zero3"]
Stage = Literal["cpt", "sft", "dpo"]

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class StageSpec(BaseModel):
    """Hyper-parameters that every stage shares. Unknown keys are errors; every key is read by the worker."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_steps: int = Field(gt=0, description="Optimizer steps; the run ends after exactly this many.")
    learning_rate: float = Field(gt=0, description="Peak learning rate of AdamW.")
    lr_scheduler: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="Schedule after warm-up; each decays to zero except constant."
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps of linear warm-up.")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW weight decay on the LoRA matrices.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are clipped to this global norm.")
    batch_size: int = Field(default=8, gt=0, description="Sequences (pairs for DPO) per process and micro step.")
    gradient_accumulation: int = Field(default=1, gt=0, description="Micro steps per optimizer step.")
    max_length: int = Field(default=512, gt=1, description="Tokens per row; longer rows are handled by the stage.")
    seed: int = Field(default=7, ge=0, description="Seeds initialisation, shuffling and dropout.")
    lora_r: int = Field(default=16, gt=0, description="Rank of a new LoRA; a continued adapter keeps its parent's.")
    lora_alpha: int = Field(default=32, gt=0, description="LoRA scale numerator (scale = alpha / r).")
    lora_dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the LoRA A matrix.")
    lora_targets: list[str] = Field(
        default=list(LORA_TARGETS), min_length=1, description="Linear layers that get a LoRA."
    )
    precision: Literal["fp32", "bf16"] = Field(default="bf16", description="Base weights and compute.")
    quantization: Literal["none", "8bit", "4bit"] = Field(
        default="none",
        # Left out where it is dumped, so that adapters which were trained before it existed keep their fingerprint.
        exclude_if=lambda value: value == "none",
        description="Frozen base weights under the LoRA: 8bit is LLM.int8, 4bit is QLoRA's NF4; needs bitsandbytes.",
    )
    activation_checkpointing: bool = Field(default=False, description="Recompute activations to save memory.")
    backend: Backend = Field(
        default="zero2", description="plain, ddp, or a DeepSpeed ZeRO stage (configs/deepspeed/<backend>.json)."
    )
    num_processes: int = Field(default=1, gt=0, description="Ranks; with GPUs each has one of its own.")
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto",
        description="gpu: every rank takes one GPU, fewer GPUs than ranks are an error; auto: GPUs if there are any.",
    )
    placement: Literal["local", "ray"] = Field(
        default="local",
        description="local: ranks are processes of one machine, under torchrun; ray: on the nodes of a Ray cluster.",
    )
    num_threads: int = Field(
        default=0, ge=0, description="CPU threads per rank; 0 divides the cores of the process among the ranks."
    )
    logging_steps: int = Field(default=5, gt=0, description="Steps between two progress lines.")
    checkpoint_every: int = Field(default=50, gt=0, description="Steps between two resumable checkpoints.")
    keep_checkpoints: int = Field(default=2, gt=0, description="Older checkpoints are deleted.")

    @model_validator(mode="after")
    def _plain_is_one_process(self) -> "StageSpec":
        if self.backend == "plain" and self.num_processes != 1:
            raise ValueError("backend: plain runs one process; choose ddp or zero2 for num_processes > 1")
        return self

    @model_validator(mode="after")
    def _quantization_has_its_engine(self) -> "StageSpec":
        if self.quantization != "none" and self.precision != "bf16":
            raise ValueError(f"quantization: {self.quantization} computes in bfloat16; set precision: bf16")
        # A continued adapter does not reach DPO's reference unchanged through ZeRO-3 over an NF4 base.
        if self.quantization != "none" and self.backend == "zero3":
            raise ValueError(f"quantization: {self.quantization} does not work with backend: zero3; choose zero2")
        return self


class CptSpec(StageSpec):
    """Continued pre-training on raw text, packed without losing a token."""

    stage: Literal["cpt"] = "cpt"


class SftSpec(StageSpec):
    """Supervised fine-tuning on `messages`; only assistant tokens, the stop token included, carry loss."""

    stage: Literal["sft"] = "sft"


class DpoSpec(StageSpec):
    """Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290) against the frozen parent adapter."""

    stage: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0, description="Strength of the KL tie to the reference policy.")
    loss_type: Literal["sigmoid", "robust", "ipo", "hinge"] = Field(
        default="sigmoid", description="robust expects label_smoothing = share of flipped votes."
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5, description="Read by robust only; 0 otherwise.")
    sft_weight: float = Field(default=0.0, ge=0, description="Weight of an added NLL term on the chosen answer.")

    @model_validator(mode="after")
    def _no_dropout(self) -> "DpoSpec":
        if self.lora_dropout:
            raise ValueError("lora_dropout: DPO compares policy and reference without dropout; set it to 0")
        return self

    @model_validator(mode="after")
    def _smoothing_is_read(self) -> "DpoSpec":
        if self.label_smoothing and self.loss_type != "robust":
            raise ValueError(f"label_smoothing has no effect with loss_type: {self.loss_type}; use robust or drop it")
        return self


AnyStageSpec = Annotated[CptSpec | SftSpec | DpoSpec, Field(discriminator="stage")]


class BaseModelRef(BaseModel):
    """A base model: a local folder, or a hub repository at one revision."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Local folder or hub id, as `from_pretrained` takes it.")
    revision: str | None = Field(default=None, description="Commit of the hub repository.")
    digest: str = Field(description="sha256 of the weights for a local folder, else `name@revision`.")


class AdapterRef(BaseModel):
    """An adapter on disk: a folder with adapter_config.json and adapter_model.safetensors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    sha256: str = Field(description="sha256 of adapter_model.safetensors.")
    base_digest: str = Field(description="Digest of the base that it was trained on.")


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
    train_file: Path
    eval_file: Path | None = None
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
