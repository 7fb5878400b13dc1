"""The job file of the process that takes the reference policy's log-probs."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.training.job import AdapterRef, BaseModelRef
from llmops_assets.training.specs import DpoSpec


class ReferenceSpec(BaseModel):
    """The part of a DPO stage's settings that the reference's log-probs depend on, to float precision."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: Literal["fp32", "bf16"]
    quantization: Literal["none", "8bit", "4bit"]
    batching: Literal["padded", "padding_free", "prefix_sharing"]
    batch_size: int = Field(gt=0, description="Pairs at once.")
    device: Literal["auto", "cpu"] = Field(
        default="auto", description="auto: a GPU if there is one; cpu: none. It changes no log-prob but by rounding."
    )

    @classmethod
    def of(cls, spec: DpoSpec) -> "ReferenceSpec":
        """Return the settings under which policy and reference compute alike."""
        return cls(
            precision=spec.precision,
            quantization=spec.quantization,
            batching=spec.batching,
            batch_size=spec.batch_size,
            device="cpu" if spec.device == "cpu" else "auto",
        )


class ReferenceJob(BaseModel):
    """What one such process reads and writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    asset: str
    spec: ReferenceSpec
    base_model: BaseModelRef
    reference: AdapterRef = Field(description="The reference policy: the parent of the DPO run, or its anchor.")
    rows: Path = Field(description="Folder of prepared pairs.")
    output_dir: Path = Field(
        description="Receives a file for each file of `rows`, with ref_chosen_logps and ref_rejected_logps, and, last, "
        "reference.json."
    )


class ReferenceSummary(BaseModel):
    """What reference.json holds: evidence of which policy was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference_sha256: str
    pairs: int
    mean_chosen: float = Field(description="Mean log-prob of a chosen answer, in nats.")
    mean_rejected: float
    difference_to_base: float = Field(
        description="Largest difference to the base without the reference adapter on the first pairs, in nats; near 0 "
        "the adapter had no effect."
    )
