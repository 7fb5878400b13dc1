"""What evaluations say, from log histories as the trainer writes them."""

import pytest

from llmops_assets.training.control.evaluations import (
    Evaluation,
    best_evaluation,
    evaluation_figures,
    evaluations,
    mean_train_loss,
    train_loss_since_last_evaluation,
    without_improvement,
)


def history(*rows: tuple[int, str, float]) -> list[dict[str, float]]:
    return [{"step": step, key: value, "epoch": 0.1} for step, key, value in rows]


def test_evaluations_come_by_step_and_the_later_of_two_at_one_step_counts() -> None:
    rows = history((5, "loss", 3.0), (5, "eval_loss", 2.5), (10, "eval_loss", 2.0), (10, "eval_loss", 2.1))
    assert evaluations(rows) == [Evaluation(5, 2.5), Evaluation(10, 2.1)]


def test_the_earliest_of_equals_is_the_best() -> None:
    assert best_evaluation([Evaluation(2, 2.0), Evaluation(4, 1.5), Evaluation(6, 1.5)]) == Evaluation(4, 1.5)


@pytest.mark.parametrize(
    ("losses", "min_delta", "passed"),
    [
        ([], 0.0, 0),
        ([2.0], 0.0, 0),
        ([2.0, 1.0, 1.0, 1.5], 0.0, 2),
        ([2.0, 1.0, 1.0, 0.9], 0.0, 0),
        ([2.0, 1.95, 1.92], 0.1, 2),  # noise of that size is no improvement
        ([2.0, 1.95, 1.89], 0.1, 0),  # small gains add up to one
    ],
)
def test_improvement_is_measured_from_the_last_one(losses: list[float], min_delta: float, passed: int) -> None:
    found = [Evaluation(step, loss) for step, loss in enumerate(losses)]
    assert without_improvement(found, min_delta) == passed


def test_training_loss_beside_an_evaluation_is_that_of_the_steps_since_the_one_before_it() -> None:
    rows = history(
        (1, "loss", 9.0), (4, "eval_loss", 5.0),
        (5, "loss", 4.0), (10, "loss", 3.0), (11, "loss", 9.0), (11, "eval_loss", 3.5),
    )  # fmt: skip
    assert train_loss_since_last_evaluation(rows) == pytest.approx((4 * 4.0 + 5 * 3.0 + 1 * 9.0) / 10)
    assert train_loss_since_last_evaluation(rows[:2]) == 9.0
    assert train_loss_since_last_evaluation(history((1, "eval_loss", 5.0))) is None


def test_figures_of_an_evaluation_are_its_own_without_the_clock() -> None:
    rows = [
        {"step": 5, "eval_loss": 2.5, "eval_mean_token_accuracy": 0.4, "eval_runtime": 3.0, "epoch": 1.0},
        {"step": 10, "eval_loss": 2.0},
    ]
    assert evaluation_figures(rows, 5) == {"eval_loss": 2.5, "eval_mean_token_accuracy": 0.4}
    assert evaluation_figures(rows, 7) == {}


def test_mean_training_loss_counts_each_logged_loss_by_its_steps() -> None:
    rows = history((1, "loss", 9.0), (5, "loss", 4.0), (5, "eval_loss", 1.0), (15, "loss", 3.0))
    assert mean_train_loss(rows) == pytest.approx((9.0 + 4 * 4.0 + 10 * 3.0) / 15)
    assert mean_train_loss(rows[2:3]) is None
