"""What a training stage can be told: one schema for the recipe, the Dagster launchpad and the worker.

Specs are flat on purpose: Dagster's launchpad config refuses nested plain models.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmops_assets.training.stage_spec import LORA_TARGETS, TRACKERS, Backend, RowsSpec, StageSpec

__all__ = [
    "LORA_TARGETS",
    "TRACKERS",
    "AnyStageSpec",
    "Backend",
    "ChatRows",
    "CptSpec",
    "DpoSpec",
    "KdSpec",
    "KtoSpec",
    "RowsSpec",
    "SftSpec",
    "Stage",
    "StageSpec",
]

Stage = Literal["cpt", "sft", "kd", "dpo", "kto"]


class CptSpec(StageSpec):
    """Continued pre-training on raw text, packed without losing a token."""

    stage: Literal["cpt"] = "cpt"


class ChatRows(RowsSpec):
    """How conversations become rows."""

    batching: Literal["padded", "padding_free", "packed"] = Field(
        default="padded",
        description="padded: rows of one micro step are filled up to the longest; padding_free: they follow each other "
        "in one row, apart from each other; packed: rows hold as many conversations as fit max_length.",
    )
    long_rows: Literal["drop", "drop_turns", "cut_prompt", "error"] = Field(
        default="drop",
        description="A conversation beyond max_length: left out, shortened by its last whole exchanges, or by the "
        "beginning of its first question, or an error. An answer is never cut; each case is counted.",
    )


class SftSpec(ChatRows, StageSpec):
    """Supervised fine-tuning on `messages`; only assistant tokens, the stop token included, carry loss."""

    stage: Literal["sft"] = "sft"


class KdSpec(ChatRows, StageSpec):
    """Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531) of a teacher with the student's tokenizer.

    sequence: fine-tune on the teacher's own answers (Kim & Rush 2016, arXiv 1606.07947). logits: on each answer token
    `alpha * cross-entropy + (1 - alpha) * temperature^2 * divergence` to the teacher's distribution.
    """

    stage: Literal["kd"] = "kd"
    method: Literal["logits", "sequence"] = Field(
        default="logits", description="Match the teacher's distribution, or imitate the answers that it writes."
    )
    temperature: float = Field(default=2.0, gt=0, description="Softens both distributions; logits only.")
    alpha: float = Field(default=0.5, ge=0, le=1, description="Weight of the cross-entropy term; logits only.")
    divergence: Literal["forward_kl", "reverse_kl", "jsd"] = Field(
        default="forward_kl",
        description="forward_kl: KL(teacher || student); reverse_kl: KL(student || teacher); jsd: the mixture of both "
        "(Agarwal et al. 2023, arXiv 2306.13649).",
    )
    jsd_beta: float = Field(default=0.5, gt=0, lt=1, description="Weight of the teacher in the mixture of jsd.")
    top_k: int = Field(
        default=64,
        gt=0,
        description="Tokens whose teacher log-prob is kept at each position; the rest is one tail mass.",
    )

    @model_validator(mode="after")
    def _logit_settings_are_read(self) -> "KdSpec":
        if self.method == "sequence":
            unread = [key for key in ("temperature", "alpha", "divergence", "jsd_beta", "top_k") if self._differs(key)]
            if unread:
                raise ValueError(f"{', '.join(unread)}: not read with method: sequence; remove them")
        elif self.divergence != "jsd" and self._differs("jsd_beta"):
            raise ValueError(f"jsd_beta has no effect with divergence: {self.divergence}; use jsd or drop it")
        return self


class DpoSpec(StageSpec):
    """Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290) against a frozen reference policy."""

    stage: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0, description="Strength of the KL tie to the reference policy.")
    loss_type: Literal["sigmoid", "robust", "ipo", "hinge", "apo_zero", "apo_down"] = Field(
        default="sigmoid",
        description="robust expects label_smoothing = share of flipped votes; ipo is arXiv 2310.12036; apo_zero and "
        "apo_down (arXiv 2408.06266) are for chosen answers better, or worse, than the policy's own.",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5, description="Read by robust only; 0 otherwise.")
    sft_weight: float = Field(default=0.0, ge=0, description="Weight of an added NLL term on the chosen answer.")
    reference: str = Field(
        default="previous",
        pattern=r"^(previous|anchor:v\d+\.\d+)$",
        description="The reference policy: the adapter that is continued, or one version of the lane (anchor:v1.0).",
    )
    batching: Literal["padded", "padding_free", "prefix_sharing"] = Field(
        default="padded",
        description="padding_free: answers follow each other in one row without padding; prefix_sharing: the prompt of "
        "a pair is computed once for both of its answers.",
    )
    long_rows: Literal["drop", "cut_prompt", "error"] = Field(
        default="drop",
        description="A pair with an answer that ends beyond max_length: left out, shortened by the beginning of its "
        "first question, or an error. An answer is never cut; each case is counted.",
    )

    @model_validator(mode="after")
    def _no_dropout(self) -> "DpoSpec":
        if self.lora_dropout:
            raise ValueError("lora_dropout: DPO compares policy and reference without dropout; set it to 0")
        return self

    @model_validator(mode="after")
    def _attention_is_read(self) -> "DpoSpec":
        if self.batching == "prefix_sharing" and self.attention != "auto":
            raise ValueError(f"attention: {self.attention} is not read: prefix_sharing brings its own; remove it")
        return self

    @model_validator(mode="after")
    def _smoothing_is_read(self) -> "DpoSpec":
        if self.label_smoothing and self.loss_type != "robust":
            raise ValueError(f"label_smoothing has no effect with loss_type: {self.loss_type}; use robust or drop it")
        return self


class KtoSpec(StageSpec):
    """Kahneman-Tversky optimization (Ethayarajh et al. 2024, arXiv 2402.01306) on single answers with a thumb each."""

    stage: Literal["kto"] = "kto"
    batch_size: int = Field(
        default=8,
        gt=1,
        description="Answers per process and micro step; the KL term pairs those of one micro step, so at least two.",
    )
    beta: float = Field(default=0.1, gt=0, description="Strength of the KL tie to the reference policy, the parent.")
    desirable_weight: float = Field(default=1.0, gt=0, description="Weight of answers with a thumb up.")
    undesirable_weight: float = Field(default=1.0, gt=0, description="Weight of answers with a thumb down.")
    long_rows: Literal["drop", "cut_prompt", "error"] = Field(default="drop", description="As in DPO.")

    @model_validator(mode="after")
    def _reference_is_not_sharded(self) -> "KtoSpec":
        if self.finetuning == "full" and self.backend == "zero3":
            raise ValueError("backend: zero3 cannot copy a whole model as KTO's reference; choose zero2")
        return self

    @model_validator(mode="after")
    def _no_dropout(self) -> "KtoSpec":
        if self.lora_dropout:
            raise ValueError("lora_dropout: KTO compares policy and reference without dropout; set it to 0")
        return self


AnyStageSpec = Annotated[CptSpec | SftSpec | KdSpec | DpoSpec | KtoSpec, Field(discriminator="stage")]
