"""The generating process: killed and resumed to the same bytes, with a key that no file ever holds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from llmops_assets.data.generation.specs import InstructionsSpec
from llmops_assets.evaluation.data_generation import DataGenerationJob, SelfInstructTask, main
from llmops_assets.training.distillation.job import TeacherRef
from llmops_assets.training.job import BaseModelRef
from llmops_assets_tests.data.generation.chat_server import ChatServer, Reply, chat_server, troubled, writer
from llmops_assets_tests.data.self_instruct.test_pipeline import SEEDS

CANARY = "sk-canary-91be"


def job_file(folder: Path, generator: dict[str, Any], model: BaseModelRef | None = None, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    lines = (json.dumps({"id": f"s{number}", "instruction": text}) + "\n" for number, text in enumerate(SEEDS))
    (folder / "seeds.jsonl").write_text("".join(lines))
    values = {"seeds": {"pattern": "seeds.jsonl"}, "generator": generator, "target": 30, "prompts_per_round": 4}
    job = DataGenerationJob(
        task=SelfInstructTask(spec=InstructionsSpec.model_validate(values | settings), recipe_dir=folder),
        model=None if model is None else TeacherRef(base_model=model),
        cache_dir=folder / "cache",
        output_dir=folder / "out",
        result_file=folder / "generation.json",
    )
    file = folder / "job.json"
    file.write_text(job.model_dump_json())
    return file


def endpoint(server: ChatServer, **settings: Any) -> dict[str, Any]:
    return {"kind": "endpoint", "base_url": server.base_url, "model": "m", "api_key_env": "CANARY_KEY"} | settings


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_a_killed_build_goes_on_from_its_cache_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_KEY", CANARY)
    with chat_server(lambda body, before: Reply(writer(body).text, delay=0.03)) as server:
        broken, whole = job_file(tmp_path / "a", endpoint(server)), job_file(tmp_path / "b", endpoint(server))
        process = subprocess.Popen([sys.executable, "-m", "llmops_assets.evaluation.data_generation", str(broken)])
        while len(server.asked) < 20:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "a" / "out").exists()
        kept = len(list((tmp_path / "a" / "cache").rglob("*/*.json")))
        assert kept > 0
        assert main([str(whole)]) == 0
        assert main([str(broken)]) == 0
    results = [json.loads((tmp_path / name / "generation.json").read_text()) for name in "ab"]
    assert results[0]["from_cache"] >= kept and results[1]["from_cache"] == 0
    assert results[0]["sent"] + results[0]["from_cache"] == results[1]["sent"]
    assert files(tmp_path / "a" / "out") == files(tmp_path / "b" / "out")


def test_no_file_and_no_output_holds_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CANARY_KEY", CANARY)
    with chat_server(troubled) as server:
        # All at once, so that their waits of up to a second overlap.
        assert main([str(job_file(tmp_path / "a", endpoint(server, concurrency=32), target=5))]) == 0
    with chat_server(lambda body, before: Reply(f"wrong key: {CANARY}", status=401)) as refusing:
        assert main([str(job_file(tmp_path / "b", endpoint(refusing)))]) == 1
    assert set(server.keys) == {f"Bearer {CANARY}"}
    said = capfd.readouterr()
    assert "wrong key: ***" in said.err
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > 20
    for text in (said.out, said.err, *(file.read_text() for file in written)):
        assert CANARY not in text


def test_a_local_model_is_not_loaded_for_what_the_cache_knows(
    tmp_path: Path, tiny_model, capsys: pytest.CaptureFixture[str]
) -> None:
    local = {"kind": "local", "name": "tiny", "precision": "fp32"}
    sampling = {"temperature": 1.0, "max_tokens": 8}
    settings = {"accept_window": 8, "instruction_sampling": sampling, "human_examples": 1, "machine_examples": 0}
    file = job_file(tmp_path, local, tiny_model.base, **settings)
    assert main([str(file)]) == 1
    first = capsys.readouterr().err
    assert "0 of the last 8 instructions were accepted" in first
    weights = Path(tiny_model.base.name) / "model.safetensors"
    hidden = weights.rename(weights.with_suffix(".hidden"))
    try:
        assert main([str(file)]) == 1
    finally:
        hidden.rename(weights)
    assert capsys.readouterr().err == first


def test_torch_stays_out_of_a_build_that_asks_an_endpoint(tmp_path: Path) -> None:
    with chat_server(writer) as server:
        file = job_file(tmp_path, endpoint(server, api_key_env=None), target=3)
        code = (
            "import sys; from llmops_assets.evaluation.data_generation import main; status = main(sys.argv[1:]); "
            "sys.exit(status or 9 * ('torch' in sys.modules))"
        )
        assert subprocess.run([sys.executable, "-c", code, str(file)], env=dict(os.environ)).returncode == 0
