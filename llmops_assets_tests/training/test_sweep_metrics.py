"""A sweep may rank by what its trainings report, in the direction in which that is better, and by nothing else."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from llmops_assets.training.job import AdapterRef, BaseModelRef
from llmops_assets.training.run import train
from llmops_assets.training.specs import AnyStageSpec
from llmops_assets.training.sweep_metrics import complaint_about, ranking_figures
from llmops_assets.training.sweep_points import SweepSpec

from .conftest import Files, adapter_ref, make_job, write_jsonl


def stage(name: str, **settings: Any) -> AnyStageSpec:
    return TypeAdapter(AnyStageSpec).validate_python({"stage": name, "learning_rate": 1e-3, "max_steps": 5} | settings)


@pytest.mark.parametrize(
    ("metric", "spec"),
    [
        ("mean_token_acuracy", stage("sft")),
        ("rewards/accuracies", stage("sft", validation_share=0.1)),
        ("eval_rewards/accuracies", stage("sft", validation_share=0.1)),
        ("rewards/accuracies", stage("kto")),
        ("mean_token_accuracy", stage("kto")),
        ("kd/divergence", stage("kd", method="sequence")),
        ("mfu", stage("sft", device="cpu")),
        ("train_rows", stage("cpt")),
    ],
)
def test_a_figure_that_no_training_reports_is_refused_with_those_that_it_does(metric: str, spec: AnyStageSpec) -> None:
    complaint = complaint_about(metric, None, spec)
    assert complaint is not None
    assert complaint.startswith(f"no training of this stage {spec.stage} reports {metric}; choose from loss, mean_loss")


def test_a_figure_of_the_validation_rows_needs_some() -> None:
    assert "holds none back" in str(complaint_about("eval_kd/divergence", None, stage("kd")))
    assert complaint_about("eval_kd/divergence", None, stage("kd", validation_share=0.1)) is None


def test_what_is_better_follows_from_the_figure() -> None:
    def best(metric: str, **goal: Any) -> str:
        return SweepSpec(stage="sft", grid={"seed": [1, 2]}, metric=metric, **goal).best

    lower, higher = ("eval_loss", "mean_loss", "kd/divergence"), ("eval_mean_token_accuracy", "rewards/margins", "mfu")
    assert [best(metric) for metric in lower] == ["min"] * 3
    assert [best(metric) for metric in higher] == ["max"] * 3
    assert best("eval_loss", goal="max") == "max"


def test_a_figure_without_a_better_end_needs_a_goal() -> None:
    assert "say which with goal" in str(complaint_about("rewards/chosen", None, stage("dpo")))
    assert complaint_about("rewards/chosen", "max", stage("dpo")) is None


@pytest.fixture(scope="module")
def parent(base: BaseModelRef, files: Files, tmp_path_factory: pytest.TempPathFactory) -> AdapterRef:
    job = make_job(tmp_path_factory.mktemp("parent"), base, files.sft, {"stage": "sft", "backend": "plain"})
    assert train(job) is not None
    return adapter_ref(job)


@pytest.mark.parametrize("name", ["cpt", "sft", "kd", "dpo", "kto"])
def test_every_figure_is_in_the_result_of_a_training(
    name: str, base: BaseModelRef, files: Files, parent: AdapterRef, tmp_path: Path
) -> None:
    thumbs = [
        {
            "prompt": [{"role": "user", "content": f"What does item {index} do?"}],
            "completion": "Return the list." if index % 2 else "Close the queue.",
            "label": bool(index % 2),
        }
        for index in range(40)
    ]
    file = {"cpt": files.cpt, "dpo": files.dpo, "kto": write_jsonl(tmp_path / "thumbs.jsonl", thumbs)}
    settings = {"stage": name, "backend": "plain", "max_steps": 3, "validation_share": 0.3, "logging_steps": 1}
    settings |= {"method": "sequence"} if name == "kd" else {}
    job = make_job(tmp_path, base, file.get(name, files.sft), settings, parent)
    result = train(job)
    assert result is not None
    assert set(ranking_figures(job.spec)) - {"mfu"} <= {*result.metrics, "train_seconds"}
