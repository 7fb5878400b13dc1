"""The table, the picture and the best of a sweep, also of one that is not done."""

import pytest
import yaml

from llmops_assets.training.sweep_points import SweepSpec
from llmops_assets.training.sweep_report import (
    PointOutcome,
    best_point,
    headline,
    recipe_lines,
    report_markdown,
    sweep_plot_png,
    table_rows,
)

RATES = {"learning_rate": [1e-5, 2e-5, 5e-5, 1e-4]}
GRID = SweepSpec(stage="sft", grid=RATES, metric="mean_token_accuracy", goal="min")


def done(rate: float, accuracy: float, **figures: float) -> PointOutcome:
    measured = {"mean_token_accuracy": accuracy, "loss": 1.5, "tokens_per_second": 900.0, "train_seconds": 12.0}
    return PointOutcome(f"learning_rate={rate}", {"learning_rate": rate}, "done", measured | figures)


OUTCOMES = [
    done(1e-5, 0.4),
    done(2e-5, 0.7, eval_loss=1.25),
    PointOutcome("learning_rate=5e-05", {"learning_rate": 5e-5}, "failed", {}, "the loss is NaN; lower it"),
    PointOutcome("learning_rate=0.0001", {"learning_rate": 1e-4}, "not run"),
]


@pytest.mark.parametrize(("goal", "best"), [("min", 1e-5), ("max", 2e-5)])
def test_the_best_is_the_lowest_or_the_highest(goal: str, best: float) -> None:
    sweep = GRID.model_copy(update={"goal": goal})
    found = best_point(sweep, OUTCOMES)
    assert found is not None
    assert found.settings == {"learning_rate": best}
    assert [row["best"] for row in table_rows(sweep, OUTCOMES)] == [True, False, False, False]


def test_a_point_that_is_out_of_date_is_shown_and_not_ranked() -> None:
    stale = PointOutcome("learning_rate=3e-05", {"learning_rate": 3e-5}, "out of date", {"mean_token_accuracy": 0.1})
    found = best_point(GRID, [stale, *OUTCOMES])
    assert found is OUTCOMES[0]
    assert table_rows(GRID, [stale, *OUTCOMES])[2]["mean_token_accuracy"] == 0.1


def test_the_first_of_equal_points_is_the_best() -> None:
    assert best_point(GRID, [done(1e-5, 0.5), done(2e-5, 0.5)]) == done(1e-5, 0.5)


def test_the_table_has_every_point_with_its_status() -> None:
    rows = table_rows(GRID, OUTCOMES)
    assert [row["status"] for row in rows] == ["done", "done", "failed", "not run"]
    assert rows[1]["eval loss"] == 1.25
    assert rows[0]["eval loss"] is None
    text = report_markdown("rates", GRID, OUTCOMES)
    assert "| **learning_rate=1e-05** | **1e-05** | **0.4** | **1.5** | **-** | **900** | **12** | **done** |" in text
    assert "| learning_rate=0.0001 | 0.0001 | - | - | - | - | - | not run |" in text
    assert "- `learning_rate=5e-05` failed: the loss is NaN; lower it" in text


def test_the_headline_counts_points_and_names_the_best() -> None:
    assert headline("rates", GRID, OUTCOMES) == (
        "rates: 2 of 4 points are done; learning_rate=1e-05 has the lowest mean_token_accuracy, 0.4."
    )
    other = GRID.model_copy(update={"metric": "rouge"})
    assert "none of them has the figure rouge; they report eval_loss, loss, mean_token_accuracy" in headline(
        "rates", other, OUTCOMES
    )
    assert headline("rates", GRID, OUTCOMES[2:]) == "rates: 0 of 2 points are done."


def test_the_recipe_lines_are_yaml_of_the_same_values() -> None:
    settings = {"learning_rate": 1e-5, "lora_targets": ["q_proj"], "finetuning": "lora", "fused_lora": False}
    lines = recipe_lines(GRID, PointOutcome("one", settings, "done"))
    assert yaml.safe_load("\n".join(lines)) == {"sft": settings}


def test_the_plot_depends_on_the_finished_points_alone() -> None:
    picture = sweep_plot_png("rates", GRID, OUTCOMES)
    assert picture is not None
    assert picture.startswith(b"\x89PNG")
    assert picture == sweep_plot_png("rates", GRID, OUTCOMES[:2])
    assert picture != sweep_plot_png("rates", GRID, [*OUTCOMES, done(3e-5, 0.5)])
    assert sweep_plot_png("rates", GRID, OUTCOMES[2:]) is None


def test_points_without_a_number_to_go_by_are_bars() -> None:
    sweep = SweepSpec(stage="sft", grid={"lr_scheduler": ["cosine", "linear"]}, metric="loss")
    outcomes = [
        PointOutcome(f"lr_scheduler={name}", {"lr_scheduler": name}, "done", {"loss": loss})
        for name, loss in (("cosine", 1.0), ("linear", 1.1))
    ]
    picture = sweep_plot_png("schedules", sweep, outcomes)
    assert picture is not None
    assert picture != sweep_plot_png("schedules", sweep, outcomes[:1])
