"""How many GPUs a run asks for, whatever its recipe, its overrides and its selection."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.test_utils import instance_for_test

from llmops_assets.launchers.run_demand import RunDemand, UnknownDemand, demand_of, run_demand
from llmops_assets.recipe import Recipe, RecipeError

STAGE = {"max_steps": 5, "learning_rate": 0.01}


def recipe(**sections: Any) -> dict[str, Any]:
    sources = {"sources": [{"kind": "files", "name": "rows", "pattern": "rows.jsonl"}]}
    return {
        "name": "tiny",
        "description": "A lane for the tests.",
        "base_model": {"name": "embedded"},
        "corpus": sources,
        "sft_set": sources,
        **{stage: {**STAGE, **settings} for stage, settings in sections.items()},
    }


def demand(
    *ops: str,
    config: dict[str, Any] | None = None,
    point: str | None = None,
    beside: dict[str, Any] | None = None,
    **stages: Any,
) -> RunDemand:
    """Demand of `ops` on a recipe with these stages, and with sections `beside` them."""
    run_config = {"ops": {op: {"config": values} for op, values in (config or {}).items()}}
    content = recipe(**stages) | (beside or {})
    return demand_of(ops, run_config, lambda name: Recipe.model_validate(content | {"name": name}), point)


def test_stage_that_insists_on_gpus_asks_for_one_per_rank() -> None:
    asked = demand("tiny__sft_adapter", sft={"device": "gpu", "num_processes": 4})

    assert (asked.gpus, asked.placed_gpus) == (4, 0)
    assert asked.bases["tiny__sft_adapter"].name == "embedded"


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_stage_that_can_do_without_asks_for_none(device: str) -> None:
    assert demand("tiny__sft_adapter", sft={"device": device, "num_processes": 4}).gpus == 0


def test_ranks_that_ray_places_are_not_asked_of_the_runs_own_machine() -> None:
    asked = demand("tiny__sft_adapter", sft={"device": "gpu", "num_processes": 4, "placement": "ray"})

    assert (asked.gpus, asked.placed_gpus) == (0, 4)


def test_largest_stage_of_a_run_counts_because_stages_follow_each_other() -> None:
    sections: dict[str, Any] = {stage: {"device": "gpu", "num_processes": n} for stage, n in (("cpt", 4), ("sft", 2))}

    assert demand("tiny__corpus", "tiny__cpt_adapter", "tiny__sft_adapter", **sections).gpus == 4
    assert demand("tiny__sft_adapter", "tiny__sft_report", **sections).gpus == 2


SWEEPS = {"sweeps": {"rank_counts": {"stage": "sft", "metric": "loss", "grid": {"num_processes": [2, 4]}}}}


@pytest.mark.parametrize(("point", "gpus"), [("num_processes=2", 2), ("num_processes=4", 4), (None, 4)])
def test_point_of_a_sweep_asks_for_what_its_settings_say_the_largest_if_it_is_not_named(
    point: str | None, gpus: int
) -> None:
    asked = demand("tiny__rank_counts_sweep_point", point=point, beside=SWEEPS, sft={"device": "gpu"})

    assert asked.gpus == gpus
    assert asked.bases["tiny__rank_counts_sweep_point"].name == "embedded"
    assert demand("tiny__rank_counts_sweep_point", point=point, beside=SWEEPS, sft={}).gpus == 0


def test_sweep_or_point_that_its_recipe_has_lost_is_named() -> None:
    with pytest.raises(UnknownDemand, match="recipe tiny has no sweep rates any more"):
        demand("tiny__rates_sweep_point", sft={})
    with pytest.raises(UnknownDemand, match="has no point num_processes=8 of sweep rank_counts any more"):
        demand("tiny__rank_counts_sweep_point", point="num_processes=8", beside=SWEEPS, sft={})


@pytest.mark.parametrize(
    ("op", "stage"), [("teacher_logits", "kd"), ("teacher_answers", "kd"), ("reference_log_probs", "dpo")]
)
def test_recording_takes_one_gpu_if_its_stage_insists_on_some(op: str, stage: str) -> None:
    sections = {"teacher": {"name": "embedded"}} if stage == "kd" else {"preferences": {}}

    def gpus(*ops: str, **settings: Any) -> int:
        stages = {"sft": {}, stage: {"num_processes": 4, **settings}}
        return demand(*ops, beside=sections, **stages).gpus

    assert gpus(f"tiny__{op}", device="gpu") == 1
    assert gpus(f"tiny__{op}", device="gpu", placement="ray") == 1
    assert gpus(f"tiny__{op}") == 0
    assert gpus(f"tiny__{op}", f"tiny__{stage}_adapter", device="gpu") == 4


def test_recording_that_is_told_to_use_the_cpu_takes_no_gpu() -> None:
    config = {"tiny__reference_log_probs": {"device": "cpu"}}
    stages = {"sft": {}, "dpo": {"device": "gpu"}}

    assert demand("tiny__reference_log_probs", config=config, beside={"preferences": {}}, **stages).gpus == 0


def test_recording_holds_no_gpu_while_ray_places_ranks() -> None:
    placed = {"device": "gpu", "num_processes": 4, "placement": "ray"}
    asked = demand("tiny__reference_log_probs", "tiny__dpo_adapter", beside={"preferences": {}}, sft={}, dpo=placed)

    assert (asked.gpus, asked.placed_gpus) == (0, 4)


def test_overrides_of_the_run_config_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKS", "3")
    config = {"tiny__sft_adapter": {"device": "gpu", "num_processes": {"env": "RANKS"}}}

    asked = demand("tiny__sft_adapter", config=config, sft={"num_processes": 8})

    assert asked.gpus == 3
    assert asked.stages["tiny__sft_adapter"].learning_rate == 0.01


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"num_processes": 0}, r"ops\.tiny__sft_adapter\.config: num_processes: Input should be greater than 0"),
        ({"backend": "plain", "num_processes": 2}, r"plain runs one process"),
        ({"num_processes": {"env": "NOT_SET_ANYWHERE"}}, r"config\.num_processes: the environment variable NOT_SET_A"),
    ],
)
def test_override_that_the_stage_cannot_use_is_named(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnknownDemand, match=sentence):
        demand("tiny__sft_adapter", config={"tiny__sft_adapter": config}, sft={})


def test_ops_that_train_nothing_ask_for_nothing_and_need_no_recipe() -> None:
    def gone(name: str) -> Recipe:
        raise RecipeError(f"{name} is gone")

    assert demand_of(["use_gpu", "tiny__corpus", "sft_adapter", "tiny__sft_report"], {}, gone).gpus == 0
    with pytest.raises(UnknownDemand, match="tiny__sft_adapter asks for, its recipe cannot be used: tiny is gone"):
        demand_of(["tiny__sft_adapter"], {}, gone)


def test_stage_that_its_recipe_has_lost_is_named() -> None:
    with pytest.raises(UnknownDemand, match="recipe tiny has no section sft any more"):
        demand("tiny__sft_adapter", cpt={})


@dg.op
def tiny__rank_counts_sweep_point() -> None: ...


@dg.job
def one_point() -> None:
    tiny__rank_counts_sweep_point()


@dg.op
def tiny__cpt_adapter() -> None: ...


@dg.op
def tiny__sft_adapter() -> None: ...


@dg.job
def both() -> None:
    tiny__cpt_adapter()
    tiny__sft_adapter()


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with instance_for_test() as instance:
        yield instance


def test_recorded_run_is_read_from_its_plan_and_the_recipe_file(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    monkeypatch.setenv("LLMOPS_CONFIGS_DIR", str(tmp_path))
    run = instance.create_run_for_job(both)
    with pytest.raises(UnknownDemand, match=r"tiny\.yaml: cannot be read"):
        run_demand(instance, run)

    settings = recipe(cpt={"device": "gpu", "num_processes": 2}, sft={"device": "gpu"})
    (recipes / "tiny.yaml").write_text(yaml.safe_dump(settings))
    assert run_demand(instance, run).gpus == 2
    assert run_demand(instance, instance.create_run_for_job(both, op_selection=["tiny__sft_adapter"])).gpus == 1
    assert (
        run_demand(instance, instance.create_run_for_job(both.get_subset(op_selection=["tiny__sft_adapter"]))).gpus == 1
    )


def test_recorded_run_of_a_sweep_names_its_point_by_the_partition(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOPS_CONFIGS_DIR", str(tmp_path))
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "tiny.yaml").write_text(yaml.safe_dump(recipe(sft={"device": "gpu"}) | SWEEPS))
    run = instance.create_run_for_job(one_point, tags={"dagster/partition": "num_processes=2"})

    assert run_demand(instance, run).gpus == 2


def test_run_without_a_plan_is_refused(instance: dg.DagsterInstance) -> None:
    from dagster._core.test_utils import create_run_for_test

    with pytest.raises(UnknownDemand, match="has no execution plan"):
        run_demand(instance, create_run_for_test(instance, job_name="both"))
