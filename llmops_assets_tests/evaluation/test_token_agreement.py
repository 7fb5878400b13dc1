"""A student against its recorded teacher on held-out rows: the same model agrees with itself, another does not."""

import json
from pathlib import Path

import pytest

from llmops_assets.evaluation.token_agreement import TokenAgreementJob, TokenDistances, main
from llmops_assets.training.distillation.job import TeacherLogitsJob, TeacherRef
from llmops_assets.training.distillation.specs import RecordingSpec
from llmops_assets.training.distillation.teacher_logits import record_teacher
from llmops_assets.training.preparation.arrow_rows import TOKENS, write_rows
from llmops_assets_tests.evaluation.conftest import TinyModel


@pytest.fixture(scope="module")
def recorded(tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of growing length whose second half is labelled, and the tiny base with its adapter recorded on them."""
    folder = tmp_path_factory.mktemp("agreement")
    ids = [[5 + (7 * index + step * (index + 3)) % 3000 for step in range(8 + index)] for index in range(9)]
    rows = [{"input_ids": row, "labels": [-100] * (len(row) // 2) + row[len(row) // 2 :]} for row in ids]
    for file in ("train.arrow", "validation.arrow"):
        write_rows(folder / "rows" / file, rows, {"input_ids": TOKENS, "labels": TOKENS})
    teacher = TeacherRef(base_model=tiny_model.base, adapter=tiny_model.adapter)
    spec = RecordingSpec(top_k=32, precision="fp32", batch_size=4)
    record_teacher(
        TeacherLogitsJob(
            teacher=teacher, spec=spec, student=tiny_model.base, rows=folder / "rows", output_dir=folder / "teacher"
        )
    )
    return folder


def measured(model: TinyModel, folder: Path, output: Path, *, with_adapter: bool) -> TokenDistances:
    job = TokenAgreementJob(
        base_model=model.base,
        adapter=model.adapter if with_adapter else None,
        rows=folder / "rows",
        teacher_logits=folder / "teacher",
        batch_size=4,
        output_file=output / "distances.json",
    )
    (output / "job.json").write_text(job.model_dump_json())
    assert main([str(output / "job.json")]) == 0
    return TokenDistances.model_validate_json((output / "distances.json").read_text())


def test_the_teacher_agrees_with_itself_and_its_base_less(
    tiny_model: TinyModel, recorded: Path, tmp_path: Path
) -> None:
    itself = measured(tiny_model, recorded, tmp_path, with_adapter=True)
    base = measured(tiny_model, recorded, tmp_path, with_adapter=False)
    assert [row.tokens for row in itself.rows] == [(9 + index) // 2 for index in range(9)]
    assert all(row.agreed == row.tokens for row in itself.rows)
    assert sum(row.kl for row in itself.rows) < 1e-4
    assert sum(row.kl for row in base.rows) > 100 * sum(row.kl for row in itself.rows)
    assert sum(row.agreed for row in base.rows) < sum(row.tokens for row in base.rows)


def test_a_recording_of_other_rows_is_refused(
    tiny_model: TinyModel, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}] * 9
    write_rows(tmp_path / "rows" / "validation.arrow", short, {"input_ids": TOKENS, "labels": TOKENS})
    job = {
        "base_model": tiny_model.base.model_dump(),
        "rows": str(tmp_path / "rows"),
        "teacher_logits": str(recorded / "teacher"),
        "output_file": str(tmp_path / "out.json"),
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert main([str(tmp_path / "job.json")]) == 1
    assert "row 0: recorded at 4 tokens, the row has 2" in capsys.readouterr().err
