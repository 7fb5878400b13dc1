"""The gate's arm on contamination: has anything that an adapter was trained on taught it the eval sets?"""

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.evaluation.verdict import GateArm, Limits, Verdict

SHOWN_LEAKS = 10


class TrainingLeak(BaseModel):
    """A row of a training set that holds an eval item, and what shows it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    training_set: str
    line: int = Field(description="Line of its train.jsonl, from 1.")
    item: str
    evidence: str


class LeakEvidence(BaseModel):
    """What was found in the training sets of an adapter and of all adapters that it was trained from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    eval_sets: str = Field(description="Data version of the eval sets.")
    rows: dict[str, int] = Field(description="Rows read of each training set, by name and data version.")
    missing: list[str] = Field(description="Training sets that are no longer in the artifact store.")
    leaking_rows: int
    first: list[TrainingLeak] = Field(description="The first leaks.")


def leak_arm(label: str, evidence: LeakEvidence) -> GateArm:
    """Judge the evidence on the adapter called `label`: one leaking row is FAIL, a set that is missing INCONCLUSIVE."""
    verdict, needs = Verdict.PASS, ""
    if evidence.leaking_rows:
        leak = evidence.first[0]
        verdict = Verdict.FAIL
        needs = (
            f"{leak.training_set} holds eval item {leak.item} in line {leak.line} ({leak.evidence}); "
            "materialize the training sets again and train on them"
        )
    elif evidence.missing:
        verdict = Verdict.INCONCLUSIVE
        needs = f"not in the artifact store any more: {', '.join(evidence.missing)}; restore it, or train again"
    return GateArm(
        name="no_eval_leak",
        question=f"Is every set that {label} and its ancestors were trained on free of the lane's eval items?",
        estimate=evidence.leaking_rows,
        low=evidence.leaking_rows,
        high=evidence.leaking_rows,
        limits=Limits(high=1),
        n=sum(evidence.rows.values()),
        clusters=len(evidence.rows),
        detectable=None,
        verdict=verdict,
        needs=needs,
    )
