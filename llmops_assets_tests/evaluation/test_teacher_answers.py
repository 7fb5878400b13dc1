"""A teacher's answers as a data set: its own words, fixed by the job, never cut."""

import json
from pathlib import Path

import pytest

from llmops_assets.evaluation.teacher_answers import TeacherAnswersJob, main
from llmops_assets.training.distillation.job import TeacherRef
from llmops_assets.training.distillation.specs import AnsweringSpec
from llmops_assets.training.job import BaseModelRef
from llmops_assets_tests.training.conftest import make_base

PROMPTS = 24


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> BaseModelRef:
    """A random model draws each of its few hundred tokens about as often, its end-of-turn token too."""
    return make_base(tmp_path_factory.mktemp("teacher"), seed=5)


def job(teacher: BaseModelRef, folder: Path, **spec: float) -> TeacherAnswersJob:
    rows = [
        {
            "id": f"q{index}",
            "messages": [
                {"role": "user", "content": f"What does function {index} return?"},
                {"role": "assistant", "content": "the set's own answer"},
            ],
        }
        for index in range(PROMPTS)
    ]
    folder.mkdir(exist_ok=True)
    (folder / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"precision": "fp32", "max_new_tokens": 96, "batch_size": 8, "temperature": 1.0} | spec
    return TeacherAnswersJob(
        teacher=TeacherRef(base_model=teacher),
        spec=AnsweringSpec.model_validate(settings),
        set_file=folder / "set.jsonl",
        output_dir=folder / "out",
    )


def answered(job: TeacherAnswersJob) -> list[dict]:
    file = job.output_dir.parent / "job.json"
    file.write_text(job.model_dump_json())
    assert main([str(file)]) == 0
    return [json.loads(line) for line in (job.output_dir / "train.jsonl").read_text().splitlines()]


def test_rows_hold_finished_answers_of_the_teacher_and_the_counts_add_up(teacher: BaseModelRef, tmp_path: Path) -> None:
    request = job(teacher, tmp_path)
    rows = answered(request)
    result = json.loads((request.output_dir / "teacher_answers.json").read_text())
    assert 0 < result["answers"] == len(rows)
    assert result["answers"] + result["unfinished"] + result["empty"] + result["without_room"] == PROMPTS
    for row in rows:
        question, answer = row["messages"]
        assert row["teacher"] == teacher.digest
        assert question["role"] == "user" and answer["content"] not in ("", "the set's own answer")


def test_a_sampled_answer_depends_on_its_row_and_seed_and_not_on_its_batch(
    teacher: BaseModelRef, tmp_path: Path
) -> None:
    first = answered(job(teacher, tmp_path / "a"))
    assert first == answered(job(teacher, tmp_path / "b", batch_size=5))
    assert first != answered(job(teacher, tmp_path / "c", seed=8))


def test_a_teacher_that_never_ends_is_refused(
    teacher: BaseModelRef, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = job(teacher, tmp_path, temperature=0.0, max_new_tokens=1)
    (tmp_path / "job.json").write_text(request.model_dump_json())
    assert main([str(tmp_path / "job.json")]) == 1
    assert "max_new_tokens: 1" in capsys.readouterr().err
    assert not (request.output_dir / "train.jsonl").exists()
