import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from llmops_assets.evaluation.job import EvaluationJob, SamplingJob
from llmops_assets.evaluation.measure import evaluate
from llmops_assets.evaluation.scores import BrokenScores, read_scores
from llmops_assets.evaluation.specs import EvaluationSpec
from llmops_assets.training.digests import file_sha256
from llmops_assets_tests.evaluation.conftest import TinyModel

USER = {"role": "user", "content": "What does `abs` do?"}
ROWS = {
    "perplexity_file": [{"id": "d", "text": "Return the absolute value.", "group": "g", "tokens": 6}],
    "questions_file": [{"id": "q", "group": "g", "messages": [USER, {"role": "assistant", "content": "A value."}]}],
    "preferences_file": [{"pair_id": "p", "prompt": [USER], "chosen": "A value.", "rejected": "A file."}],
}


def make_job(folder: Path, tiny_model: TinyModel) -> EvaluationJob:
    files = {}
    for key, rows in ROWS.items():
        files[key] = folder / f"{key}.jsonl"
        files[key].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return EvaluationJob(
        base_model=tiny_model.base,
        adapter=tiny_model.adapter,
        settings=EvaluationSpec(perplexity_window=64, perplexity_stride=32, max_new_tokens=4),
        output_file=folder / "out" / "scores.json",
        **files,
    )


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"llmops_assets.evaluation.{module}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_worker_measures_everything_that_the_job_names(tmp_path: Path, tiny_model: TinyModel):
    job = make_job(tmp_path, tiny_model)
    (tmp_path / "job.json").write_text(job.model_dump_json())
    done = run("worker", str(tmp_path / "job.json"))
    assert done.returncode == 0, done.stderr
    scores = read_scores(job.output_file)
    assert [len(scores.documents), len(scores.questions), len(scores.preferences)] == [1, 1, 1]
    assert scores.adapter_sha256 == tiny_model.adapter.sha256
    assert scores.settings == job.settings
    assert job.questions_file and scores.inputs["questions"] == file_sha256(job.questions_file)
    assert scores.perplexity and scores.bits_per_byte and scores.corpus_bleu is not None
    assert [path.name for path in job.output_file.parent.iterdir()] == ["scores.json"]
    assert "perplexity of 1 of 1 documents" in done.stdout


def test_two_measurements_of_one_job_are_equal(tmp_path: Path, tiny_model: TinyModel):
    job = make_job(tmp_path, tiny_model)
    first, second = (evaluate(job).model_copy(update={"seconds": 0.0}) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("quantization", ["none", "4bit"])
def test_a_teacher_is_measured_in_the_weights_that_its_job_names(
    tmp_path: Path, tiny_model: TinyModel, quantization: Literal["none", "4bit"]
):
    if quantization != "none" and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes (extra gpu) is not installed")
    usual = make_job(tmp_path, tiny_model)
    other = evaluate(usual.model_copy(update={"precision": "bf16", "quantization": quantization}))
    assert other.device.endswith("/bf16" if quantization == "none" else "/4bit")
    exact = evaluate(usual.model_copy(update={"precision": "fp32"}))
    assert [row.nll for row in other.documents] != [row.nll for row in exact.documents]


def test_what_the_job_leaves_out_is_not_measured(tmp_path: Path, tiny_model: TinyModel):
    job = make_job(tmp_path, tiny_model).model_copy(update={"questions_file": None, "preferences_file": None})
    scores = evaluate(job)
    assert scores.documents and not scores.questions and not scores.preferences
    assert scores.corpus_bleu is None and scores.likelihood_accuracy is None
    assert set(scores.inputs) == {"perplexity"}


def test_a_broken_job_is_one_sentence_and_leaves_no_file(tmp_path: Path, tiny_model: TinyModel):
    job = make_job(tmp_path, tiny_model).model_dump(mode="json") | {"surprise": 1}
    (tmp_path / "job.json").write_text(json.dumps(job))
    done = run("worker", str(tmp_path / "job.json"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "surprise" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_scores_that_were_cut_are_refused(tmp_path: Path):
    (tmp_path / "scores.json").write_text('{"schema_version": 1, "adapter_sha')
    with pytest.raises(BrokenScores, match=r"scores\.json"):
        read_scores(tmp_path / "scores.json")


def test_the_sampler_writes_two_answers_per_prompt_equal_for_equal_seeds(tmp_path: Path, tiny_model: TinyModel):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"id": str(index), "messages": [USER]}) + "\n" for index in range(3)))
    job = SamplingJob(
        base_model=tiny_model.base,
        adapter=tiny_model.adapter,
        prompts_file=prompts,
        max_new_tokens=4,
        output_file=tmp_path / "samples.jsonl",
    )
    (tmp_path / "job.json").write_text(job.model_dump_json())
    written = []
    for _ in range(2):
        done = run("sampling", str(tmp_path / "job.json"))
        assert done.returncode == 0, done.stderr
        written.append(job.output_file.read_text())
    assert written[0] == written[1]
    rows = [json.loads(line) for line in written[0].splitlines()]
    assert [row["id"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["prompt"] == [USER]
    assert set(rows[0]["left"]) == {"text", "finish", "tokens"}
    assert rows[0]["left"] != rows[1]["left"]
