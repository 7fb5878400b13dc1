"""What every training stage can be told, whatever it learns from."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Backend = Literal["plain", "ddp", "zero1", "zero2", "zero3"]

TRACKERS = ("tensorboard", "wandb")
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class RowsSpec(BaseModel):
    """How a data set becomes the rows that a worker trains on. Decided when rows are prepared, not when they train."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_length: int = Field(default=512, gt=1, description="Tokens per row; longer ones are handled by `long_rows`.")
    validation_share: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="Share of the training rows, drawn by hash, that is not trained on but gives the validation loss; "
        "apart from the sets that gates read.",
    )


class StageSpec(RowsSpec):
    """Hyper-parameters that every stage shares. Unknown keys are errors; every key is read by the worker."""

    max_steps: int | None = Field(
        default=None, gt=0, description="Optimizer steps at most; with `epochs`, whichever ends first."
    )
    epochs: float | None = Field(default=None, gt=0, description="Passes over the training rows.")
    learning_rate: float = Field(gt=0, description="Peak learning rate of AdamW.")
    lr_scheduler: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="Schedule after warm-up; each decays to zero except constant."
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps of linear warm-up.")
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1, description="The same as a share of all steps.")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW weight decay on the trained matrices.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are clipped to this global norm.")
    batch_size: int = Field(default=8, gt=0, description="Rows (pairs for DPO) per process and micro step.")
    gradient_accumulation: int = Field(default=1, gt=0, description="Micro steps per optimizer step.")
    seed: int = Field(default=7, ge=0, description="Seeds initialisation, shuffling and dropout.")
    finetuning: Literal["lora", "full"] = Field(
        default="lora", description="Train a LoRA over frozen weights, or all parameters of the model."
    )
    adapter_mode: Literal["continue", "merge_then_new"] = Field(
        default="continue",
        description="What becomes of a parent adapter: trained further, or merged into the base under a new LoRA.",
    )
    lora_r: int = Field(
        default=16, gt=0, description="Rank of the LoRA; a continued one grows to it and is never shrunk."
    )
    lora_alpha: int = Field(default=32, gt=0, description="LoRA scale numerator (scale = alpha / r).")
    lora_dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the LoRA A matrix.")
    lora_targets: list[str] = Field(
        default=list(LORA_TARGETS), min_length=1, description="Linear layers that get a LoRA."
    )
    fused_lora: bool = Field(
        default=True,
        description="Compute base and LoRA of a linear layer in one autograd function, where its weights are not "
        "quantised and no dropout is on.",
    )
    fused_lm_head: bool = Field(
        default=True,
        description="On CPUs, under a LoRA: score labelled tokens alone and take their gradient in the forward pass, "
        "instead of computing all logits twice; on GPUs TRL's own kernel runs.",
    )
    precision: Literal["fp32", "bf16"] = Field(default="bf16", description="Base weights and compute.")
    quantization: Literal["none", "8bit", "4bit"] = Field(
        default="none",
        description="Frozen base weights under the LoRA: 8bit is LLM.int8, 4bit is QLoRA's NF4; needs bitsandbytes.",
    )
    attention: Literal["auto", "eager", "sdpa", "segments", "flash_attention_2", "flash_attention_3"] = Field(
        default="auto",
        description="auto: flash attention 3, then 2, where a GPU has its kernels; else segments for packed rows "
        "(causal attention inside each document, no mask over pairs of tokens) and sdpa for padded ones.",
    )
    activation_checkpointing: bool = Field(default=False, description="Recompute activations to save memory.")
    compile: Literal["none", "layers"] = Field(
        default="none", description="layers: torch.compile of each decoder layer; pays off on GPUs and long runs."
    )
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
    prefetch: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="on: a process of its own collates the next two micro batches while one is computed; auto: on "
        "GPUs. Results are the same.",
    )
    num_threads: int = Field(
        default=0, ge=0, description="CPU threads per rank; 0 divides the cores of the process among the ranks."
    )
    logging_steps: int = Field(default=5, gt=0, description="Steps between two progress lines.")
    eval_every: int = Field(
        default=0,
        ge=0,
        description="Steps between two validation losses; 0 takes one at the end. Needs validation_share.",
    )
    early_stop_evaluations: int = Field(
        default=0, ge=0, description="Stop after so many validation losses in a row without improvement; 0 never does."
    )
    early_stop_min_delta: float = Field(
        default=0.0, ge=0, description="A validation loss improves if it is lower than the best one by more than this."
    )
    loss_spike_factor: float = Field(
        default=10.0,
        ge=0,
        description="Stop with advice when the loss is this many times its running median, three progress lines in a "
        "row; 0 looks for NaN and infinity alone.",
    )
    checkpoint_every: int = Field(default=50, gt=0, description="Steps between two resumable checkpoints.")
    keep_checkpoints: int = Field(default=2, gt=0, description="Older checkpoints are deleted.")
    report_to: list[str] = Field(
        default=[],
        description="tensorboard, wandb: trackers beside MLflow; each needs its package (extra `trackers`).",
    )

    @model_validator(mode="after")
    def _ends_some_time(self) -> "StageSpec":
        if self.max_steps is None and self.epochs is None:
            raise ValueError("a stage needs max_steps, epochs, or both")
        return self

    @field_validator("report_to")
    @classmethod
    def _known_trackers(cls, names: list[str]) -> list[str]:
        # Dagster's launchpad takes no list of literals.
        if unknown := [name for name in names if name not in TRACKERS]:
            raise ValueError(f"{unknown[0]!r} is no tracker; choose from {', '.join(TRACKERS)}")
        return names

    @model_validator(mode="after")
    def _one_warmup(self) -> "StageSpec":
        if self.warmup_steps and self.warmup_ratio:
            raise ValueError("warmup_steps and warmup_ratio say the same twice; keep one of them")
        return self

    @model_validator(mode="after")
    def _plain_is_one_process(self) -> "StageSpec":
        if self.backend == "plain" and self.num_processes != 1:
            raise ValueError("backend: plain runs one process; choose ddp or zero2 for num_processes > 1")
        return self

    @model_validator(mode="after")
    def _quantization_has_its_engine(self) -> "StageSpec":
        if self.quantization != "none" and self.precision != "bf16":
            raise ValueError(f"quantization: {self.quantization} computes in bfloat16; set precision: bf16")
        if self.quantization != "none" and self.backend == "zero3":
            raise ValueError(f"quantization: {self.quantization} does not work with backend: zero3; choose zero2")
        return self

    @model_validator(mode="after")
    def _full_has_no_lora(self) -> "StageSpec":
        if self.finetuning == "lora":
            return self
        keys = ("adapter_mode", "fused_lora", "fused_lm_head", "lora_r", "lora_alpha", "lora_dropout", "lora_targets")
        unread = [key for key in keys if self._differs(key)]
        if unread:
            raise ValueError(f"{', '.join(unread)}: not read with finetuning: full; remove them")
        if self.quantization != "none":
            raise ValueError(f"quantization: {self.quantization} freezes the base; it goes with finetuning: lora alone")
        return self

    @model_validator(mode="after")
    def _early_stop_has_evaluations(self) -> "StageSpec":
        if self.early_stop_evaluations and not self.eval_every:
            raise ValueError("early_stop_evaluations needs eval_every, the steps between two validation losses")
        if self.eval_every and not self.validation_share:
            raise ValueError("eval_every needs validation_share, the rows that the validation loss is taken on")
        if self.early_stop_min_delta and not self.early_stop_evaluations:
            raise ValueError("early_stop_min_delta has no effect without early_stop_evaluations")
        return self

    def _differs(self, key: str) -> bool:
        return getattr(self, key) != type(self).model_fields[key].default
