"""What the preference side of a lane can be told: the recipe's `preferences` section."""

from pydantic import BaseModel, ConfigDict, Field


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


class PreferenceSpec(PreferenceSetSpec):
    """When preferences become a set and a DPO run, and which prompts stay sealed for the gate."""

    minimum: int = Field(default=100, gt=0, description="New usable pairs that make the sensor ask for a DPO run.")
    weekly_minimum: int = Field(default=20, gt=0, description="New usable pairs that the Monday schedule asks for.")
    cooldown_minutes: int = Field(default=60, ge=0, description="Pause after a DPO run before the next one.")
    max_attempts: int = Field(default=2, gt=0, description="Failed runs on the same votes before the trigger gives up.")
    simulated_rater: SimulatedRaterSpec | None = Field(
        default=None, description="Present only in lanes whose votes may be simulated."
    )
