"""The code location: what the graph looks like, and that loading it stays light."""

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from llmops_assets.definitions import defs, lane
from llmops_assets.recipe import Recipe
from llmops_assets.resources.defaults import default_resources

SNAPSHOT = Path(__file__).parent / "asset_graph_snapshot.json"
HEAVY = ["torch", "transformers", "trl", "peft", "deepspeed", "datasets", "accelerate", "ray", "kubernetes", "mlflow"]


def graph_facts() -> dict[str, dict]:
    graph = defs.resolve_asset_graph()
    facts = {}
    for key in sorted(graph.get_all_asset_keys(), key=lambda key: key.to_user_string()):
        node = graph.get(key)
        facts["/".join(key.path)] = {
            "depends_on": sorted("/".join(parent.path) for parent in node.parent_keys),
            "group": node.group_name,
            "kinds": sorted(node.kinds or []),
            "owners": sorted(node.owners),
            "pool": sorted(node.pools or []) if node.is_materializable else [],
            "checks": sorted(check.name for check in node.check_keys),
            "observable": node.is_observable,
        }
    return facts


def test_the_asset_graph_is_the_reviewed_one() -> None:
    """After a wanted change `python -m llmops_assets_tests.test_definitions` writes it anew; review the diff."""
    assert graph_facts() == json.loads(SNAPSHOT.read_text())


def test_every_asset_explains_itself_in_the_ui() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert len(node.description) > 60, key
        if node.is_materializable:
            assert node.code_version, key
            assert node.kinds, key


STAGE = {"max_steps": 1, "learning_rate": 0.001}
SOURCES = {"sources": [{"kind": "files", "name": "rows", "pattern": "rows.jsonl"}]}
STUDENT = {"sft_set": SOURCES, "teacher": {"name": "embedded"}, "kd": STAGE}


@pytest.mark.parametrize(
    ("sections", "promoted_by"), [(STUDENT, {"kd_report"}), ({"corpus": SOURCES, "cpt": STAGE}, None)]
)
def test_a_lane_with_a_stage_that_answers_has_a_champion(sections: dict, promoted_by: set[str] | None) -> None:
    head = {"name": "bare", "description": "No SFT.", "base_model": {"name": "embedded"}}
    made = dg.Definitions.merge(
        lane(Recipe.model_validate(head | sections)), dg.Definitions(resources=default_resources())
    )
    graph, key = made.resolve_asset_graph(), dg.AssetKey(["bare", "champion"])
    assert (key in graph.get_all_asset_keys()) == (promoted_by is not None)
    if promoted_by is not None:
        assert graph.get(key).parent_keys == {dg.AssetKey(["bare", report]) for report in promoted_by}
        assert key in made.resolve_job_def("bare_build").asset_layer.selected_asset_keys


def test_every_training_set_and_report_of_a_lane_with_eval_sets_depends_on_them() -> None:
    sections = {
        "corpus": SOURCES,
        "cpt": STAGE,
        "sft_set": SOURCES,
        "sft": STAGE,
        "thumbs_set": SOURCES,
        "kto": STAGE,
        "preferences": {"data_sets": SOURCES},
        "dpo": STAGE,
        "eval_sets": SOURCES,
    }
    head = {"name": "measured", "description": "Eval sets.", "base_model": {"name": "embedded"}}
    made = dg.Definitions.merge(
        lane(Recipe.model_validate(head | sections)), dg.Definitions(resources=default_resources())
    )
    graph, key = made.resolve_asset_graph(), dg.AssetKey(["measured", "eval_sets"])
    needing = {child.path[1] for child in graph.get(key).child_keys}
    assert needing >= {
        "sft_set",
        "thumbs_set",
        "preference_set",
        "cpt_report",
        "sft_report",
        "kto_report",
        "dpo_report",
    }
    checked = {check.asset_key.path[1] for check in graph.asset_check_keys if check.name == "no_eval_leak"}
    assert checked == {"corpus", "sft_set", "thumbs_set", "preference_set"}
    assert key in made.resolve_job_def("measured_build").asset_layer.selected_asset_keys


def test_definitions_are_loadable() -> None:
    dg.Definitions.validate_loadable(defs)


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("llmops_assets.definitions", HEAVY),
        ("llmops_assets.cli", [*HEAVY, "dagster"]),
        ("llmops_assets.training.worker", ["dagster", "mlflow"]),
        ("llmops_assets.training.run", ["dagster"]),
        ("llmops_assets.evaluation.worker", ["dagster"]),
        ("llmops_assets.data.corpus.building", ["dagster", "torch", "transformers", "datasets"]),
        ("llmops_assets.feedback.store", ["dagster", "torch", "mlflow"]),
    ],
)
def test_loading_a_module_imports_nothing_that_it_must_not(module: str, forbidden: list[str]) -> None:
    code = f"import sys, {module}; print([name for name in {forbidden!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_import_contract_holds() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([lint], capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=120)
    assert done.returncode == 0, done.stdout


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(graph_facts(), indent=2) + "\n")
