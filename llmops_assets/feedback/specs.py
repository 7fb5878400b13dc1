"""What the preference side of a lane can be told: the recipe's `preferences` section."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

QualityRule = Literal[
    "agreement",
    "both_bad",
    "contradictions",
    "data_set_length_bias",
    "identity_leaks",
    "length_bias",
    "position_bias",
    "prompts",
    "rater_share",
]


class SimulatedRaterSpec(BaseModel):
    """The demo's rater. Its votes carry `kind: simulated`, and every manifest that contains one says so."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    battles: int = Field(gt=0, description="Prompts for which two samples are compared.")
    temperature: float = Field(default=1.0, gt=0, description="Sampling temperature of both answers.")
    top_p: float = Field(default=0.95, gt=0, le=1, description="Nucleus of both answers.")
    max_new_tokens: int = Field(default=48, gt=0, description="Longest sampled answer.")
    seed: int = Field(default=7, ge=0, description="Draws the prompts and seeds the samples.")


class PreferenceSetSpec(BaseModel):
    """How usable pairs become a preference set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sealed_share: float = Field(
        default=0.1, gt=0, lt=0.9, description="Share of prompts, by hash, that is held out and never trained on."
    )
    max_share_per_rater: float | None = Field(
        default=None, gt=0, lt=1, description="Pairs of a rater above this share of the set are left out, by hash."
    )
    identity_names: list[str] = Field(
        default=[], description="Further names that give a side away; votes on texts that hold one are left out."
    )
    allowed_names: list[str] = Field(
        default=[], description="Names of models or vendors that are this lane's subject, and give nothing away."
    )


class VoteQualitySpec(BaseModel):
    """Limits of the preference report. Each is an asset check; those in `blocking` stop a DPO run when they fail."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Two-sided level of every interval.")
    min_examples: int = Field(default=30, gt=0, description="Fewer votes (or pairs) than this are INCONCLUSIVE.")
    max_rater_share: float = Field(default=0.4, gt=0, le=1, description="Most of a set's pairs that one rater decides.")
    min_raters: int = Field(default=3, gt=0, description="Fewer real raters than this are INCONCLUSIVE.")
    min_alpha: float = Field(default=0.2, ge=-1, lt=1, description="Krippendorff's alpha must be above this.")
    max_position_deviation: float = Field(
        default=0.1, gt=0, lt=0.5, description="How far from one half the share of votes for the left side may be."
    )
    max_length_deviation: float = Field(
        default=0.25,
        gt=0,
        lt=0.5,
        description="The same for the longer answer: above 0.75, length alone nearly decides.",
    )
    max_identity_share: float = Field(
        default=0.02, ge=0, le=1, description="Judged battles whose texts name a model, a vendor or a version."
    )
    max_contradiction_share: float = Field(
        default=0.15, ge=0, le=1, description="Decisive votes that others, or another battle, contradict."
    )
    max_both_bad_share: float = Field(default=0.25, ge=0, le=1, description="Votes that both answers are bad.")
    min_prompts: int = Field(default=20, gt=0, description="Different prompts among a set's pairs.")
    seed: int = Field(default=7, ge=0, description="Seeds the bootstrap of alpha.")
    blocking: list[QualityRule] = Field(
        default=["agreement"], description="Rules whose FAIL stops a DPO run; a FAIL of the others is a warning."
    )


class PreferenceSpec(PreferenceSetSpec):
    """When preferences become a set and a DPO run, and which prompts stay sealed for the gate."""

    minimum: int = Field(default=100, gt=0, description="New usable pairs that make the sensor ask for a DPO run.")
    weekly_minimum: int = Field(default=20, gt=0, description="New usable pairs that the Monday schedule asks for.")
    cooldown_minutes: int = Field(default=60, ge=0, description="Pause after a DPO run before the next one.")
    max_attempts: int = Field(default=2, gt=0, description="Failed runs on the same votes before the trigger gives up.")
    quality: VoteQualitySpec = Field(default=VoteQualitySpec(), description="Limits of the preference report.")
    simulated_rater: SimulatedRaterSpec | None = Field(
        default=None, description="Present only in lanes whose votes may be simulated."
    )
