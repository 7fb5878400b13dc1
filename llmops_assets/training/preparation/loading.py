"""What a training process gets to train on: prepared rows, and what was computed for each of them beforehand."""

from pathlib import Path

from datasets import Dataset

from llmops_assets.training.job import TrainingJob
from llmops_assets.training.preparation.arrow_rows import (
    TRAIN_FILE,
    VALIDATION_FILE,
    has_validation,
    read_counts,
    read_rows,
)
from llmops_assets.training.preparation.text_counts import OF_TEXTS
from llmops_assets.training.rows import TrainingRows, joined


def load_rows(job: TrainingJob) -> TrainingRows:
    """Return the rows of `job`, memory-mapped, with the reference's or the teacher's columns if it names them.

    Raises MissingRows and RowsDoNotMatch.
    """
    counts = {name: float(count) for name, count in read_counts(job.rows).items()}
    texts = {name: count for name, count in counts.items() if name.partition("_")[2] in OF_TEXTS}
    return TrainingRows(
        train=_split(job, TRAIN_FILE),
        evaluation=_split(job, VALIDATION_FILE) if has_validation(job.rows) else None,
        counts={name: count for name, count in counts.items() if name not in texts},
        texts=texts,
    )


def _split(job: TrainingJob, file: str) -> Dataset:
    rows = read_rows(job.rows, file)
    computed: tuple[Path | None, ...] = (job.reference_log_probs, job.teacher_logits)
    for folder in computed:
        if folder is not None:
            rows = joined(rows, read_rows(folder, file), folder)
    return rows
