"""What an export process is given, and the facts that it leaves beside the files. Imports no torch."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.training.job import AdapterRef, BaseModelRef

EXPORT_FILE = "export.json"
Precision = Literal["bf16", "fp32"]


class StageFacts(BaseModel):
    """One stage of the chain that made an adapter, as its manifest records it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    asset: str
    stage: str = Field(description="cpt, sft, kd, dpo or kto.")
    version: str | None = Field(description="Label such as v1.1, if it has one.")
    sha256: str
    mode: str = Field(description="What became of the stage before: new, continue or merge_then_new.")
    inputs: dict[str, str] = Field(description="Data version of everything it was made from.")
    metrics: dict[str, float]


class ExportJob(BaseModel):
    """The spec file of one export: an adapter to publish as it is, or merged into its base."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    name: str = Field(description="What the result is called, e.g. `chat v1.1`.")
    base_model: BaseModelRef
    adapter: AdapterRef
    chain: tuple[StageFacts, ...] = Field(default=(), description="Stages of the adapter, oldest first, it included.")
    merge: bool = Field(default=False, description="Write a model with the adapter in its weights.")
    precision: Precision = Field(default="bf16", description="Of the served weights.")
    served_base: str | None = Field(
        default=None, description="How the server names the base; by default the hub id, or the folder's name."
    )
    probes: tuple[str, ...] = Field(
        default=(), description="Questions for the parity check of a merged model; by default the built-in ones."
    )
    manifest: Path | None = Field(default=None, description="The adapter's manifest.json, copied beside the weights.")
    output_dir: Path = Field(description="Appears whole or not at all; must not hold anything yet.")


class Parity(BaseModel):
    """How far a merged model is from its base with the adapter beside it, both computing in float32."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: int
    tokens: int = Field(description="Positions that were compared.")
    max_logit_difference: float
    mean_kl: float = Field(description="KL(adapter beside the base || merged), nats per token.")
    max_kl: float = Field(description="The same at the worst position.")
    top1_agreement: float = Field(description="Share of positions at which both rank the same token first.")
    adapter_kl: float | None = Field(
        description="KL(with the adapter || without it), nats per token: what a merge must not lose. None for a whole "
        "model, which has no adapter."
    )


class ExportResult(BaseModel):
    """The content of export.json: what lies beside it, and how it was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    name: str
    kind: Literal["adapter", "merged", "full"]
    precision: Precision
    base_model: str = Field(description="The base as it is served.")
    base_revision: str | None
    base_digest: str
    adapter_sha256: str = Field(description="Of the float32 weights in the artifact store: the version's identity.")
    merged: tuple[str, ...] = Field(description="sha256 of what was merged into the base below it, oldest first.")
    chain: tuple[StageFacts, ...]
    max_lora_rank: int | None = Field(description="vLLM's --max-lora-rank for an adapter.")
    parity: Parity | None = Field(description="None for an adapter, which changes no weight of the base.")
    files: dict[str, str] = Field(description="sha256 of every other file.")
