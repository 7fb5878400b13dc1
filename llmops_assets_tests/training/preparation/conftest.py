"""A way to prepare a few rows of a stage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.preparation.job import PreparationJob, PreparationSpec
from llmops_assets.training.preparation.prepare import prepare
from llmops_assets_tests.training.conftest import base, files, write_jsonl

__all__ = ["base", "files"]

Prepare = Callable[..., tuple[Path, dict[str, int]]]


@pytest.fixture
def prepare_rows(base: BaseModelRef, tmp_path: Path) -> Prepare:
    """Write rows of a set to train.jsonl, prepare them, and return the folder and the counts."""

    def run(rows: list[dict[str, Any]] | Path, stage: str, **settings: Any) -> tuple[Path, dict[str, int]]:
        spec = {"stage": stage, "max_length": 64, "validation_share": 0.0, **settings}
        file = rows if isinstance(rows, Path) else write_jsonl(tmp_path / "train.jsonl", rows)
        job = PreparationJob(
            asset="tiny/rows",
            spec=PreparationSpec.model_validate(spec),
            base_model=base,
            set_file=file,
            output_dir=tmp_path / "rows",
        )
        return job.output_dir, prepare(job)

    return run
