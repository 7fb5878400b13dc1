"""The command line: votes go out and come back, and errors are one sentence with exit code 1."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from llmops_assets.cli import cli
from llmops_assets.feedback.records import Battle, Message, Rater, Response
from llmops_assets.resources.defaults import feedback_resource

ADAPTER = "a" * 64


@pytest.fixture
def voted(state_folder: Path) -> None:
    """One vote in the store that the command line opens."""
    with feedback_resource().open() as store:
        store.register_version(
            adapter_sha256=ADAPTER,
            deployment="python_docs",
            stage="sft",
            parent_sha256=None,
            base_model="base",
            asset_key="python_docs/sft_adapter",
            materialization_run=None,
            mlflow_run=None,
        )
        battle = Battle(
            deployment="python_docs",
            prompt=[Message(role="user", content="What is a list?")],
            left=Response(text="A sequence.", version=ADAPTER),
            right=Response(text="A thing.", version=ADAPTER),
            seed=1,
        )
        store.record_vote(store.record_battle(battle), Rater(subject="ada", kind="human"), "left")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, list(arguments))
    return result.exit_code, result.output


def test_votes_are_exported_imported_and_counted(voted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "votes.jsonl"
    assert run("votes", "export", "python_docs", str(file)) == (0, f"1 votes written to {file}\n")
    assert "0 votes imported, 1 known already, 0 refused" in run("votes", "import", "python_docs", str(file))[1]
    monkeypatch.setenv("LLMOPS_STATE_DIR", str(tmp_path / "another"))
    assert "1 votes imported" in run("votes", "import", "python_docs", str(file))[1]
    code, stats = run("votes", "stats", "python_docs")
    assert code == 0
    assert stats.startswith("python_docs: 1 pairs from votes, 1 prompts; prompts: fails; ")
    assert "votes for the left answer: 1 of 1, 100.0% [20.7%, 100.0%]" in stats
    found = json.loads(run("votes", "stats", "python_docs", "--json")[1])
    assert found["figures"]["by_verdict"] == {"left": 1}
    assert {finding["rule"]: finding["verdict"] for finding in found["findings"]}["prompts"] == "FAIL"


def test_an_export_that_cannot_be_written_is_a_sentence_and_leaves_nothing(voted: None, tmp_path: Path) -> None:
    assert run("votes", "export", "nowhere", str(tmp_path / "a.jsonl"))[0] == 1
    (tmp_path / "file").touch()
    code, output = run("votes", "export", "python_docs", str(tmp_path / "file" / "a.jsonl"))
    assert code == 1 and "cannot be written" in output
    assert sorted(path.name for path in tmp_path.glob("*")) == ["file", "state"]
    assert run("votes", "export", "python_docs", str(tmp_path / "new" / "a.jsonl"))[0] == 0


def test_the_problems_of_all_recipes_are_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: latin\ndescription: caf\xe9\n")
    (tmp_path / "keys.yaml").write_text("? [a, b]\n: 1\n")
    code, output = run("check-recipe", *map(str, sorted(tmp_path.glob("*.yaml"))), str(tmp_path / "gone.yaml"))
    assert code == 1
    assert "latin.yaml:2: is not UTF-8" in output and "a key is a list or a mapping" in output
    assert "gone.yaml: cannot be read" in output


def test_broken_vote_lines_are_named_and_kept(voted: None, tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    file.write_text("{broken\n")
    code, output = run("votes", "import", "python_docs", str(file))
    assert code == 1
    assert f"{file}:1: " in output
    assert "the refused lines are kept in" in output


def test_an_unknown_recipe_is_a_sentence(state_folder: Path) -> None:
    code, output = run("votes", "stats", "nowhere")
    assert code == 1
    assert "nowhere.yaml: cannot be read" in output
    assert "Traceback" not in output


def test_votes_of_a_lane_for_people_cannot_be_simulated(
    state_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    code, output = run("votes", "simulate", "chat")
    assert code == 1
    assert "its votes come from people only" in output


def test_plan_prints_lines_matrix_and_advice(tmp_path: Path) -> None:
    code, output = run("plan", "python_docs", "--gpu", "1GB", "--stage", "sft")
    assert code == 0
    assert "python_docs on embedded: qwen2, 0.004 billion weights; GPUs with 1.0 GB" in output
    assert "kept activations" in output
    assert "zero3" in output
    assert "stage sft needs about" in output
    assert "cpt:" not in output


def test_plan_takes_a_config_in_place_of_a_base_that_is_not_there(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    dimensions = {"hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2}
    config.write_text(
        json.dumps({"model_type": "qwen2", "intermediate_size": 4864, "vocab_size": 151936, **dimensions})
    )
    code, output = run("plan", "chat", "--gpu", "80GiB", "--config", str(config))
    assert code == 0
    assert output.count("It fits") == 3


def test_plan_tells_what_it_cannot_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run("plan", "python_docs", "--gpu", "plenty") == (
        1,
        "Error: 'plenty' is no memory size; write it as 24GB, 80GiB or auto\n",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    code, output = run("plan", "python_docs", "--gpu", "auto")
    assert (code, "shows no GPU on this machine" in output) == (1, True)
