"""A student in the graph: its teacher is recorded once, and the report says how much of the gap was closed."""

import json
from typing import Any

import pytest
import yaml

from llmops_assets_tests.assets.conftest import OpenLane
from llmops_assets_tests.assets.tiny_lane import NAME
from llmops_assets_tests.training.conftest import make_base

STAGE = {
    **{"max_length": 128, "batch_size": 8, "max_steps": 4, "learning_rate": 0.01},
    **{"lora_r": 8, "lora_alpha": 16, "precision": "fp32", "validation_share": 0.2},
}


def give_a_teacher(lane: OpenLane, *, precision: str = "fp32", **kd: Any) -> None:
    """Add a teacher with other weights, and a kd stage, to the lane's recipe."""
    make_base(lane.files.root / "teacher", seed=11)
    # Seen from the recipe, as the patterns of sources are.
    change_recipe(lane, teacher={"name": "../../teacher", "precision": precision}, kd=STAGE | kd)


def change_recipe(lane: OpenLane, **sections: dict[str, Any]) -> None:
    recipe = yaml.safe_load(lane.files.recipe_file.read_text())
    for section, keys in sections.items():
        recipe[section] = recipe.get(section, {}) | keys
    lane.files.recipe_file.write_text(yaml.safe_dump(recipe))


def distillation_report(lane: OpenLane) -> dict[str, Any]:
    return json.loads((lane.artifact("distillation_report").folder / "report.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_student_continues_the_sft_adapter_and_its_teacher_is_asked_once(lane: OpenLane) -> None:
    give_a_teacher(lane, top_k=16)
    result = lane.run("kd_rows", "teacher_logits", "kd_adapter", "kd_report", "distillation_report")
    failed = {event.step_key for event in result.all_events if event.event_type_value == "STEP_FAILURE"}
    assert failed <= {f"{NAME}__kd_report"}, "only the gate may refuse a student of four steps"
    card = lane.artifact("kd_adapter").manifest.run_card
    assert card is not None
    assert card["parent"]["sha256"] == lane.metadata("sft_adapter")["adapter_sha256"]
    assert card["metrics"]["kd/divergence"] > 0
    recorded = lane.artifact("teacher_logits")
    assert lane.artifact("kd_adapter").manifest.inputs["teacher_logits"] == recorded.manifest.data_version

    assert lane.run("teacher_logits", "kd_adapter", config={"kd_adapter": {"alpha": 0.2}}).success
    assert lane.metadata("teacher_logits")["reused"] is True
    assert lane.metadata("kd_adapter")["reused"] is False


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_distillation_report_weighs_student_and_teacher(lane: OpenLane) -> None:
    give_a_teacher(lane, precision="bf16", top_k=16)
    assert lane.run("kd_rows", "teacher_logits", "kd_adapter", "distillation_report").success
    report = distillation_report(lane)
    assert report["tokens"] is not None
    (scores,) = lane.files.root.rglob("teacher_scores/*/scores.json")
    assert json.loads(scores.read_text())["device"].endswith("/bf16"), "the teacher is measured as it taught"

    change_recipe(lane, gate={"confidence": 0.8})
    assert lane.run("distillation_report").success
    assert lane.metadata("distillation_report")["reused"] is False
    assert (report["confidence"], distillation_report(lane)["confidence"]) == (0.95, 0.8)


def test_recording_of_other_rows_is_refused(lane: OpenLane) -> None:
    give_a_teacher(lane, top_k=16)
    assert lane.run("kd_rows", "teacher_logits").success
    assert lane.run("kd_rows", config={"kd_rows": {"validation_share": 0.4}}).success
    assert f"{NAME}/teacher_logits: taken with kd_rows" in lane.complaint("kd_adapter")
