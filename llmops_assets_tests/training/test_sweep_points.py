"""A grid or a list becomes points; what cannot be trained, or not compared, is refused at its place in the recipe."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError, model_validator

from llmops_assets.training.specs import DpoSpec, KtoSpec, SftSpec
from llmops_assets.training.sweep_points import SweepName, SweepSpec, check_sweeps, point_name, sweep_points

STAGE = SftSpec(learning_rate=1e-4, epochs=2, validation_share=0.1)


class Lane(BaseModel):
    """As much of a recipe as carries sweeps."""

    sft: SftSpec | None = None
    sweeps: dict[SweepName, SweepSpec] = {}

    @model_validator(mode="after")
    def _sweeps_fit(self) -> "Lane":
        check_sweeps(self.sweeps, {"sft": self.sft})
        return self


def refusal(**sweep: Any) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        sweep_points(SweepSpec.model_validate({"stage": "sft", **sweep}), STAGE)
    return [(error["loc"], error["msg"]) for error in caught.value.errors()]


def test_a_grid_is_every_combination_with_the_last_key_changing_fastest() -> None:
    sweep = SweepSpec(stage="sft", grid={"learning_rate": [1e-5, 2e-5, 5e-5], "lora_r": [8, 32]})
    points = sweep_points(sweep, STAGE)
    assert [point.name for point in points][:3] == [
        "learning_rate=1e-05:lora_r=8",
        "learning_rate=1e-05:lora_r=32",
        "learning_rate=2e-05:lora_r=8",
    ]
    assert len(points) == 6
    assert points[1].spec == STAGE.model_copy(update={"learning_rate": 1e-5, "lora_r": 32})


def test_a_list_may_change_other_keys_at_each_point() -> None:
    sweep = SweepSpec(stage="sft", points=[{"learning_rate": 1e-5}, {"lora_r": 32, "lora_alpha": 64}])
    assert [point.name for point in sweep_points(sweep, STAGE)] == ["learning_rate=1e-05", "lora_r=32:lora_alpha=64"]
    assert sweep.keys == ("learning_rate", "lora_r", "lora_alpha")


def test_quick_mode_caps_the_steps_of_every_point() -> None:
    sweep = SweepSpec(stage="sft", grid={"learning_rate": [1e-5, 2e-5]}, max_steps=500)
    assert {point.spec.max_steps for point in sweep_points(sweep, STAGE)} == {500}
    assert {point.spec.epochs for point in sweep_points(sweep, STAGE)} == {2}


def test_an_exponent_that_yaml_reads_as_a_string_is_a_number() -> None:
    written = yaml.safe_load("{stage: sft, grid: {learning_rate: [1e-5, 2.0e-5]}}")
    points = sweep_points(SweepSpec.model_validate(written), STAGE)
    assert [point.settings for point in points] == [{"learning_rate": 1e-5}, {"learning_rate": 2e-5}]


def test_names_are_short_stable_and_fit_for_a_partition() -> None:
    assert point_name({"lora_targets": ["q_proj", "v_proj"]}) == "lora_targets=q_proj-v_proj"
    all_targets = SftSpec.model_fields["lora_targets"].default
    long = point_name({"lora_targets": all_targets})
    assert len(long) < 60
    assert long == point_name({"lora_targets": list(all_targets)})
    assert long != point_name({"lora_targets": all_targets[:-1]})
    assert not set(long) & set(" ,|[]\n")


@pytest.mark.parametrize(
    ("sweep", "location", "sentence"),
    [
        ({"grid": {"learning_rat": [1]}}, ("grid", "learning_rat"), "is no key of stage sft"),
        ({"grid": {"lora_r": [8, "x"]}}, ("grid", "lora_r", 1), "valid integer"),
        ({"grid": {"learning_rate": [1e-5, -1]}}, ("grid", "learning_rate", 1), "greater than 0"),
        ({"grid": {"max_length": [512, 256]}}, ("grid", "max_length", 1), "256 needs other rows"),
        ({"grid": {"batching": ["padding_free", "packed"]}}, ("grid", "batching", 1), "'packed' needs other rows"),
        ({"grid": {"logging_steps": [1, 2]}}, ("grid", "logging_steps"), "how it is watched"),
        ({"grid": {"loss_spike_factor": [0, 2]}}, ("grid", "loss_spike_factor"), "how it is watched"),
        ({"grid": {"prefetch": ["on", "off"]}}, ("grid", "prefetch"), "how it is watched"),
        ({"grid": {"eval_every": [1, 2]}}, ("grid", "eval_every"), "when validation losses are taken"),
        ({"grid": {"max_steps": [5, 9]}, "max_steps": 5}, ("grid", "max_steps"), "keep one"),
        ({"points": [{"lora_r": 8}, {"seed": -1}]}, ("points", 1, "seed"), "greater than or equal to 0"),
        ({"points": [{"lora_r": 8}, {"lora_r": 8}]}, ("points", 1), "lora_r=8 is given twice"),
        (
            {"points": [{"lora_r": 8}, {"lora_r": 8, "seed": 7}]},
            ("points", 1),
            "lora_r=8:seed=7 is the same training as lora_r=8",
        ),
        (
            {"points": [{"num_processes": 2}, {"gradient_accumulation": 2}]},
            ("points", 1),
            "gradient_accumulation=2 is the same training as num_processes=2; remove one",
        ),
        ({"grid": {"seed": [1, 2]}, "metric": "mean_token_acuracy"}, ("metric",), "no training of this stage sft"),
        ({"grid": {"learning_rate": ["1e-5", 0.00001]}}, ("grid", "learning_rate"), "is given twice"),
        (
            {"points": [{"warmup_steps": 3, "warmup_ratio": 0.1}]},
            ("points", 0),
            "warmup_steps and warmup_ratio say the same twice",
        ),
    ],
)
def test_what_cannot_be_swept_is_located(sweep: dict[str, Any], location: tuple, sentence: str) -> None:
    (where, message), *others = refusal(**sweep)
    assert where == location
    assert sentence in message
    assert not others


def test_a_validation_metric_needs_validation_rows() -> None:
    sweep = SweepSpec(stage="dpo", grid={"beta": [0.1, 0.3]})
    stage = DpoSpec(learning_rate=1e-5, max_steps=5)
    with pytest.raises(ValidationError, match="eval_loss is taken on validation rows, and stage dpo holds none back"):
        sweep_points(sweep, stage)
    trained = SweepSpec(stage="dpo", grid={"beta": [0.1, 0.3]}, metric="rewards/accuracies", goal="max")
    assert len(sweep_points(trained, stage)) == 2


@pytest.mark.parametrize(
    ("key", "value"), [("precision", "fp32"), ("batching", "padding_free"), ("reference", "anchor:v1.0")]
)
def test_points_of_dpo_share_their_reference(key: str, value: str) -> None:
    stage = DpoSpec(learning_rate=1e-5, max_steps=5)
    sweep = SweepSpec(stage="dpo", points=[{"beta": 0.2}, {key: value}], metric="loss")
    with pytest.raises(ValidationError, match=f"'{value}' needs other rows, or another reference") as caught:
        sweep_points(sweep, stage)
    assert [error["loc"] for error in caught.value.errors()] == [("points", 1, key)]


@pytest.mark.parametrize("both", [{}, {"grid": {"lora_r": [8]}, "points": [{"lora_r": 16}]}])
def test_a_sweep_is_a_grid_or_a_list(both: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="either a grid or a list of points"):
        SweepSpec.model_validate({"stage": "sft", **both})


def test_a_recipe_locates_every_problem_of_its_sweeps(tmp_path: Path) -> None:
    sweeps = {
        "rates": {"stage": "sft", "grid": {"learning_rate": [1e-5, "fast"]}},
        "betas": {"stage": "dpo", "grid": {"beta": [0.1]}},
    }
    with pytest.raises(ValidationError) as caught:
        Lane.model_validate({"sft": STAGE.model_dump(), "sweeps": sweeps})
    assert [error["loc"] for error in caught.value.errors()] == [
        ("sweeps", "rates", "grid", "learning_rate", 1),
        ("sweeps", "betas", "stage"),
    ]
    assert "the recipe has no stage dpo" in str(caught.value)


def test_ranks_of_kto_are_other_trainings() -> None:
    stage = KtoSpec(learning_rate=1e-5, max_steps=5)
    ranks = SweepSpec(stage="kto", points=[{"num_processes": 2}, {"gradient_accumulation": 2}], metric="loss")
    assert len(sweep_points(ranks, stage)) == 2


@pytest.mark.parametrize("name", ["rates__twice", "rates_", "_rates", "Rates", "r" * 42])
def test_a_name_that_op_names_could_not_be_told_from_is_refused(name: str) -> None:
    sweep = {"stage": "sft", "grid": {"lora_r": [8, 16]}}
    with pytest.raises(ValidationError, match=r"should match pattern|at most 41"):
        Lane.model_validate({"sft": STAGE.model_dump(), "sweeps": {name: sweep}})
