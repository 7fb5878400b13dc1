"""A whole lane with real training: built from the command line, built again, changed, and broken."""

import json
import signal
import subprocess
import sys
import time

import psutil
import pytest

from llmops_assets.resources.tracking import Tracking
from llmops_assets_tests.assets.conftest import BUILD, OpenLane
from llmops_assets_tests.assets.tiny_lane import NAME, TinyLane


def test_the_command_line_builds_v1_0_and_makes_it_champion(lane: OpenLane) -> None:
    champion = lane.champion()
    assert champion is not None
    assert champion.label == "v1.0"
    assert lane.metadata("sft_adapter")["version"] == "v1.0"
    assert lane.metadata("sft_report")["verdict"] == "PASS"


def test_an_adapter_carries_a_run_card_that_links_both_ways(lane: OpenLane) -> None:
    manifest = lane.artifact("sft_adapter").manifest
    card = manifest.run_card
    assert card is not None
    assert manifest.spec["seed"] == 7
    assert card["parent"]["sha256"] == lane.metadata("cpt_adapter")["adapter_sha256"]
    assert card["data"]["train.arrow"] == lane.artifact("sft_rows").manifest.files["train.arrow"].sha256
    assert manifest.inputs["sft_set"] == lane.artifact("sft_set").manifest.data_version
    assert "torch" in json.dumps(card["environment"])
    tracking = Tracking(
        uri=f"sqlite:///{lane.files.root / 'state' / 'mlflow' / 'mlflow.sqlite'}",
        artifact_root="unused",
        ui_url="http://mlflow",
        dagster_url="http://dagster",
    )
    run = tracking._client().get_run(card["mlflow_run_id"])
    assert run.data.tags["dagster/run_id"] == card["dagster_run_id"]
    assert run.info.status == "FINISHED"
    assert {"loss", "learning_rate", "grad_norm", "tokens_per_second"} <= set(run.data.metrics)
    registered = tracking._client().get_model_version_by_alias(NAME, "champion")
    assert registered.tags["version"] == "v1.0"


def test_building_again_trains_nothing(lane: OpenLane) -> None:
    result = lane.run(*BUILD)
    assert result.success
    assert {asset: lane.metadata(asset)["reused"] for asset in BUILD} == dict.fromkeys(BUILD, True)


def test_a_changed_hyper_parameter_retrains_that_stage_and_not_its_parents(lane: OpenLane) -> None:
    before = lane.metadata("sft_adapter")["adapter_sha256"]
    result = lane.run("corpus", "cpt_adapter", "sft_adapter", config={"sft_adapter": {"max_steps": 2}})
    assert result.success
    assert lane.metadata("cpt_adapter")["reused"] is True
    assert lane.metadata("sft_adapter")["reused"] is False
    assert lane.metadata("sft_adapter")["adapter_sha256"] != before
    assert lane.metadata("sft_adapter")["version"] == "v2.0"


def test_how_a_training_is_watched_does_not_retrain_it(lane: OpenLane) -> None:
    assert lane.run("sft_adapter", config={"sft_adapter": {"logging_steps": 1, "checkpoint_every": 7}}).success
    assert lane.metadata("sft_adapter")["reused"] is True


def test_a_changed_record_rebuilds_what_reads_it(lane: OpenLane) -> None:
    chats = lane.files.root / "data" / "chats.jsonl"
    chats.write_text(chats.read_text().replace("item 3 ", "item three "))
    assert lane.run("corpus", "sft_set").success
    assert lane.metadata("corpus")["reused"] is True
    assert lane.metadata("sft_set")["reused"] is False


def test_a_changed_chat_template_rebuilds_the_sft_set_but_not_the_corpus(lane: OpenLane) -> None:
    template = lane.files.root / "base" / "chat_template.jinja"
    template.write_text(template.read_text() + "{# another #}")
    assert lane.run("corpus", "sft_set").success
    assert lane.metadata("corpus")["reused"] is True
    assert lane.metadata("sft_set")["reused"] is False


@pytest.mark.slow
def test_a_failing_report_leaves_the_champion_also_when_it_is_materialized_alone(lane: OpenLane) -> None:
    result = lane.run(
        *("sft_adapter", "sft_report", "champion"),
        config={"sft_adapter": {"max_steps": 1, "learning_rate": 1e-9}},
    )
    assert not result.success
    assert lane.metadata("sft_report")["verdict"] != "PASS"
    assert lane.metadata("sft_report")["version"] == "v2.0"
    assert lane.run("champion").success
    champion = lane.champion()
    assert champion is not None
    assert champion.label == "v1.0"
    assert lane.metadata("champion")["moved"] is False
    assert "v2.0 is not promoted" in lane.metadata("champion")["reason"]


def test_a_corrupted_adapter_is_named_and_changes_nothing(lane: OpenLane) -> None:
    weights = lane.artifact("sft_adapter").folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    message = lane.complaint("sft_report")
    assert "adapter_model.safetensors" in message
    assert "differs from the manifest" in message
    assert "delete the folder" in message
    assert "adapter_model.safetensors" in lane.complaint("champion")
    champion = lane.champion()
    assert champion is not None
    assert champion.label == "v1.0"


def test_an_adapter_of_another_base_is_refused(lane: OpenLane) -> None:
    from llmops_assets_tests.training.conftest import make_base

    make_base(lane.files.root / "base", seed=2)
    message = lane.complaint("sft_adapter")
    assert "was trained on base" in message
    assert "train the parent again" in message


def test_five_broken_lines_are_quarantined_with_file_line_and_reason(lane: OpenLane) -> None:
    chats = lane.files.root / "data" / "chats.jsonl"
    broken = ["{not json", '{"messages": []}', '{"text": 1}', '{"messages": [{"role": "user", "content": "?"}]}', "[]"]
    lines = chats.read_text().splitlines()
    chats.write_text("\n".join([*lines[:10], *broken, *lines[10:]]) + "\n")
    assert lane.run("sft_set").success
    assert lane.metadata("sft_set")["quarantined"] >= 5
    rows = [
        json.loads(line) for line in (lane.artifact("sft_set").folder / "quarantine.jsonl").read_text().splitlines()
    ]
    named = {row["line"]: row for row in rows if row["line"] in range(11, 16)}
    assert set(named) == set(range(11, 16))
    assert all(row["origin_file"].endswith("chats.jsonl") and row["reason"] for row in named.values())


def test_a_missing_source_and_an_empty_corpus_are_sentences(lane: OpenLane) -> None:
    documents = lane.files.root / "data" / "documents.jsonl"
    kept = documents.read_text()
    documents.unlink()
    message = lane.complaint("corpus")
    assert "documents" in message
    documents.write_text('{"text": "too short"}\n')
    assert "empty" in lane.complaint("corpus").lower()
    documents.write_text(kept)
    assert lane.run("corpus").success
    assert lane.metadata("corpus")["reused"] is True


@pytest.mark.slow
def test_an_interrupted_training_leaves_no_process_and_resumes_to_the_same_bytes(lane: OpenLane) -> None:
    # Another backend is another fingerprint, so it trains anew, and to equal bytes (see training/test_run.py).
    uninterrupted = lane.artifact("cpt_adapter")
    config = {"backend": "zero1"}
    command = ["asset", "materialize", "-m", "llmops_assets.definitions", "--select", f'key:"{NAME}/cpt_adapter"']
    ops = {"ops": {f"{NAME}__cpt_adapter": {"config": config}}}
    first = _interrupted_after_step(
        [sys.executable, "-m", "dagster", *command, "--config-json", json.dumps(ops)], lane.files, "step 10/20"
    )
    assert first != 0
    assert _processes_of(lane.files) == []
    assert lane.run("cpt_adapter", config={"cpt_adapter": config}).success
    resumed = lane.artifact("cpt_adapter")
    assert resumed.manifest.fingerprint != uninterrupted.manifest.fingerprint
    assert (resumed.manifest.run_card or {})["resumed_from_step"] >= 10
    weights = "adapter_model.safetensors"
    assert resumed.manifest.files[weights].sha256 == uninterrupted.manifest.files[weights].sha256


def _interrupted_after_step(command: list[str], files: TinyLane, line_start: str) -> int:
    """Run `command`, send SIGINT when its output reaches a line that starts so, and return its exit code."""
    process = subprocess.Popen(
        command, env=files.environment, cwd=files.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(line_start):
            process.send_signal(signal.SIGINT)
            break
    else:
        pytest.fail("training ended before it could be interrupted")
    process.communicate(timeout=120)
    return process.returncode


def _processes_of(files: TinyLane) -> list[str]:
    """Processes that still work in the lane's folder, after giving the system a moment to reap them."""
    deadline = time.monotonic() + 10
    while True:
        alive = [p for p in psutil.process_iter(["cmdline", "status"]) if p.info["status"] != psutil.STATUS_ZOMBIE]
        commands = [" ".join(process.info["cmdline"] or []) for process in alive]
        found = [command for command in commands if str(files.root) in command]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)
