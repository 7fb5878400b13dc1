import pytest

from llmops_assets.evaluation.specs import GatePolicy
from llmops_assets.evaluation.statistics import Interval
from llmops_assets.evaluation.verdict import GateArm, Limits, Verdict

POLICY = GatePolicy(min_examples=30)
PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def interval(low: float, high: float, n: int = 100) -> Interval:
    return Interval((low + high) / 2, low, high, n, n, spread=(high - low) / 4 * n**0.5)


def arm(low: float, high: float, limits: Limits, n: int = 100) -> GateArm:
    return GateArm.from_interval("arm", "Is it?", interval(low, high, n), limits, n=n, policy=POLICY)


@pytest.mark.parametrize(
    ("low", "high", "limits", "verdict"),
    [
        (-0.005, 0.02, Limits(low=-0.01), PASS),
        (-0.02, 0.02, Limits(low=-0.01), INCONCLUSIVE),
        (-0.05, -0.02, Limits(low=-0.01), FAIL),
        (-0.01, 0.0, Limits(low=-0.01), INCONCLUSIVE),
        (0.0, 0.0, Limits(low=0), INCONCLUSIVE),
        (0.98, 1.01, Limits(high=1.02), PASS),
        (1.00, 1.03, Limits(high=1.02), INCONCLUSIVE),
        (1.05, 1.09, Limits(high=1.02), FAIL),
        (0.8, 1.2, Limits(low=0.5, high=2), PASS),
        (0.4, 1.2, Limits(low=0.5, high=2), INCONCLUSIVE),
        (0.1, 0.3, Limits(low=0.5, high=2), FAIL),
        (2.1, 3.0, Limits(low=0.5, high=2), FAIL),
    ],
)
def test_the_interval_decides_and_not_the_estimate(low: float, high: float, limits: Limits, verdict: Verdict):
    assert arm(low, high, limits).verdict is verdict


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.0), (-1.0, -0.9)])
def test_few_examples_are_inconclusive_however_clear_they_look(low: float, high: float):
    few = arm(low, high, Limits(low=0), n=29)
    assert few.verdict is INCONCLUSIVE
    assert few.needs == "needs at least 1 more examples (29 now)"


def test_an_undecided_arm_says_how_many_more_examples_it_needs():
    undecided = arm(-0.02, 0.02, Limits(low=-0.01), n=100)
    # spread 0.1, distance 0.01: 785 examples for 80 % power.
    assert undecided.needs == "needs about 685 more examples (100 now) if the estimate holds"
    assert undecided.detectable == pytest.approx(0.028, abs=1e-3)


def test_an_estimate_on_the_wrong_side_is_not_promised_a_pass():
    assert "not inside the limit" in arm(-0.05, 0.02, Limits(low=-0.01)).needs


def test_one_group_of_examples_is_inconclusive():
    alone = GateArm.from_interval("arm", "Is it?", None, Limits(low=0), n=100, policy=POLICY)
    assert (alone.verdict, alone.low, alone.high) == (INCONCLUSIVE, None, None)
    assert "one group" in alone.needs


@pytest.mark.parametrize(
    ("verdicts", "overall"),
    [
        ([PASS, PASS], PASS),
        ([PASS, INCONCLUSIVE], INCONCLUSIVE),
        ([PASS, INCONCLUSIVE, FAIL], FAIL),
        ([], INCONCLUSIVE),
    ],
)
def test_all_arms_must_pass(verdicts: list[Verdict], overall: Verdict):
    assert Verdict.all_of(verdicts) is overall
