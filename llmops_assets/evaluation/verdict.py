"""Three-valued decisions: an interval either shows what was asked, shows the contrary, or shows neither."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.evaluation.specs import GatePolicy
from llmops_assets.evaluation.statistics import Interval, detectable_effect, examples_for_power

# A larger sample than this is no advice that anybody can follow.
MOST_EXAMPLES = 100_000


class Verdict(StrEnum):
    """INCONCLUSIVE blocks like FAIL, but more examples may resolve it."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"

    @classmethod
    def all_of(cls, verdicts: Iterable["Verdict"]) -> "Verdict":
        """An intersection-union test: each part must pass at its own level, so no correction is due."""
        seen = set(verdicts)
        if cls.FAIL in seen:
            return cls.FAIL
        return cls.PASS if seen == {cls.PASS} else cls.INCONCLUSIVE


class Limits(BaseModel):
    """The acceptable region of a figure: above `low`, below `high`, or between both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float | None = None
    high: float | None = None

    def judge(self, interval: Interval) -> Verdict:
        """PASS if the whole interval lies inside, FAIL if all of it lies beyond one limit."""
        if (self.low is None or interval.low > self.low) and (self.high is None or interval.high < self.high):
            return Verdict.PASS
        if (self.low is not None and interval.high < self.low) or (self.high is not None and interval.low > self.high):
            return Verdict.FAIL
        return Verdict.INCONCLUSIVE

    def distance(self, estimate: float) -> float:
        """How far `estimate` lies inside the nearest limit; negative outside."""
        gaps = [estimate - self.low] if self.low is not None else []
        gaps += [self.high - estimate] if self.high is not None else []
        return min(gaps)

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"between {self.low:.4g} and {self.high:.4g}"
        return f"above {self.low:.4g}" if self.low is not None else f"below {self.high:.4g}"


class GateArm(BaseModel):
    """One question of a gate, the evidence, and the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    question: str
    estimate: float | None = Field(description="None, like the bounds, where all examples form one group.")
    low: float | None
    high: float | None
    limits: Limits
    n: int = Field(description="Paired examples.")
    clusters: int = Field(description="Independent groups among them.")
    detectable: float | None = Field(description="Distance from the limit that this many examples show at 80 % power.")
    verdict: Verdict
    needs: str = Field(description="What would resolve it, where that is known; empty for a PASS.")

    @classmethod
    def from_interval(
        cls,
        name: str,
        question: str,
        interval: Interval | None,
        limits: Limits,
        *,
        n: int,
        policy: GatePolicy,
    ) -> Self:
        """Judge an interval. Fewer than `policy.min_examples` examples, or one group, are INCONCLUSIVE."""
        verdict, needs = _decide(interval, limits, n, policy)
        return cls(
            name=name,
            question=question,
            estimate=interval.estimate if interval else None,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            limits=limits,
            n=n,
            clusters=interval.clusters if interval else 1,
            detectable=detectable_effect(interval.spread, n, policy.confidence) if interval else None,
            verdict=verdict,
            needs=needs,
        )


def _decide(interval: Interval | None, limits: Limits, n: int, policy: GatePolicy) -> tuple[Verdict, str]:
    if n < policy.min_examples:
        return Verdict.INCONCLUSIVE, f"needs at least {policy.min_examples - n} more examples ({n} now)"
    if interval is None:
        return Verdict.INCONCLUSIVE, "all examples belong to one group; needs held-out examples of other groups"
    verdict = limits.judge(interval)
    if verdict is not Verdict.INCONCLUSIVE:
        return verdict, ""
    distance = limits.distance(interval.estimate)
    if distance <= 0:
        return verdict, "the estimate itself is not inside the limit; more examples are likely to make this a FAIL"
    needed = examples_for_power(interval.spread, distance, policy.confidence)
    # The interval is not exactly the normal one that the sample size assumes: never advise what is already there.
    missing = max(needed - n, 1)
    if needed > MOST_EXAMPLES:
        return verdict, "the estimate is too close to the limit for any practical number of examples"
    return verdict, f"needs about {missing} more examples ({n} now) if the estimate holds"
