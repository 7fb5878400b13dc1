"""From a data set to the rows of a stage: what a training process would otherwise do before its first step."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from llmops_assets.training.adapter_files import write_atomically
from llmops_assets.training.model import load_tokenizer
from llmops_assets.training.preparation.arrow_rows import (
    COUNTS_FILE,
    TOKENS,
    TRAIN_FILE,
    VALIDATION_FILE,
    RowsFile,
    write_rows,
)
from llmops_assets.training.preparation.arrow_rows import read_rows as read_prepared
from llmops_assets.training.preparation.chat_rows import chat_rows
from llmops_assets.training.preparation.counts import Counts
from llmops_assets.training.preparation.document_rows import document_rows
from llmops_assets.training.preparation.job import PreparationJob
from llmops_assets.training.preparation.packing import packed
from llmops_assets.training.preparation.pair_rows import pair_rows
from llmops_assets.training.preparation.preview import PREVIEW_FILE, preview_markdown
from llmops_assets.training.preparation.text_counts import count_rows
from llmops_assets.training.preparation.thumb_rows import thumb_rows
from llmops_assets.training.preparation.validation import is_validation
from llmops_assets.training.rows import NothingToTrain

SourceAndRow = tuple[dict[str, Any], dict[str, Any]]

_UNPACKED_FOLDER = "unpacked"

_TRAINED: dict[str, pa.DataType] = {"input_ids": TOKENS, "labels": TOKENS}
COLUMNS: dict[str, dict[str, pa.DataType]] = {
    "cpt": _TRAINED,
    "sft": _TRAINED,
    "kd": _TRAINED,
    "dpo": {"prompt_ids": TOKENS, "chosen_ids": TOKENS, "rejected_ids": TOKENS},
    "kto": {"prompt_ids": TOKENS, "completion_ids": TOKENS, "label": pa.bool_()},
}


def prepare(job: PreparationJob) -> dict[str, int]:
    """Write the rows of `job` to its output folder and return their counts, which rows.json holds too.

    The same set, settings and tokenizer give the same bytes. Rows go to the disk as they come, for a set may be larger
    than the memory; while they are packed, the disk holds them up to three times.

    Raises NothingToTrain when no row is left to train on, or none fell into a validation share that was asked for;
    and what the stage's rows raise.
    """
    tokenizer = load_tokenizer(job.base_model)
    counts = Counts()
    for name in ("train_rows", "validation_rows") if job.spec.validation_share else ("train_rows",):
        counts.add(name, 0)
    files = (TRAIN_FILE, VALIDATION_FILE) if job.spec.validation_share else (TRAIN_FILE,)
    with _folder_of_single_rows(job) as folder:
        _write_single_rows(job, folder, files, tokenizer, counts)
        for file in files:
            if job.spec.packed:
                _pack(folder, file, job)
            count_rows(counts, file.removesuffix(".arrow"), read_prepared(job.output_dir, file))
    (job.output_dir / PREVIEW_FILE).write_text(
        preview_markdown(tokenizer, read_prepared(job.output_dir), job.spec.stage), encoding="utf-8"
    )
    figures = counts.as_dict()
    write_atomically(job.output_dir / COUNTS_FILE, json.dumps(figures, indent=2).encode("utf-8"))
    return figures


def _stage_rows(job: PreparationJob, tokenizer: PreTrainedTokenizerBase, counts: Counts) -> Iterator[SourceAndRow]:
    readers: Mapping[str, Callable[[], Iterable[SourceAndRow]]] = {
        "cpt": lambda: document_rows(job.set_file, tokenizer),
        "sft": lambda: chat_rows(job.set_file, tokenizer, job.spec, counts),
        "kd": lambda: chat_rows(job.set_file, tokenizer, job.spec, counts),
        "dpo": lambda: pair_rows(job.set_file, tokenizer, job.spec, counts),
        "kto": lambda: thumb_rows(job.set_file, tokenizer, job.spec, counts),
    }
    yield from readers[job.spec.stage]()


@contextmanager
def _folder_of_single_rows(job: PreparationJob) -> Iterator[Path]:
    """Yield where rows are written as they come: the output folder, or one that is gone once they are packed."""
    if not job.spec.packed:
        yield job.output_dir
        return
    folder = job.output_dir / _UNPACKED_FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # of a preparation that was killed
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_single_rows(
    job: PreparationJob, folder: Path, files: tuple[str, ...], tokenizer: PreTrainedTokenizerBase, counts: Counts
) -> None:
    with ExitStack() as closing:
        sides = [closing.enter_context(RowsFile(folder / file, COLUMNS[job.spec.stage])) for file in files]
        for source, row in _stage_rows(job, tokenizer, counts):
            sides[is_validation(source, job.spec.validation_share)].add(row)
    _require_rows(job, [side.count for side in sides], counts)


def _pack(folder: Path, file: str, job: PreparationJob) -> None:
    # `datasets` maps the rows from the disk and leaves the packed ones beside them, in the folder that goes.
    rows = packed(read_prepared(folder, file), job.spec.max_length)
    write_rows(job.output_dir / file, iter(rows), COLUMNS[job.spec.stage] | {"seq_lengths": TOKENS})  # pyright: ignore[reportArgumentType]


def _require_rows(job: PreparationJob, sides: list[int], counts: Counts) -> None:
    """Raise NothingToTrain unless there are rows on each side: to train on, and for validation if a share is asked."""
    share, kept = job.spec.validation_share, sum(sides)
    if not kept:
        long = counts.as_dict().get("rows_too_long", 0)
        why = f"all {long} rows are longer than max_length: {job.spec.max_length} tokens" if long else "it is empty"
        raise NothingToTrain(f"{job.set_file}: nothing to train on, {why}")
    if not sides[-1]:
        raise NothingToTrain(
            f"{job.set_file}: validation_share {share} of {kept} rows drew none; raise it, or set it to 0"
        )
    if not sides[0]:
        raise NothingToTrain(f"{job.set_file}: validation_share {share} of {kept} rows left none to train on; lower it")
