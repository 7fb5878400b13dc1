"""From a data set to the rows of a stage: what a training process would otherwise do before its first step."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from llmops_assets.training.adapter_files import write_atomically
from llmops_assets.training.model import load_tokenizer
from llmops_assets.training.preparation.arrow_rows import (
    COUNTS_FILE,
    TOKENS,
    TRAIN_FILE,
    VALIDATION_FILE,
    write_rows,
)
from llmops_assets.training.preparation.arrow_rows import read_rows as read_prepared
from llmops_assets.training.preparation.chat_rows import IGNORED, chat_rows
from llmops_assets.training.preparation.counts import Counts
from llmops_assets.training.preparation.document_rows import document_rows
from llmops_assets.training.preparation.job import PreparationJob, PreparationSpec
from llmops_assets.training.preparation.packing import packed
from llmops_assets.training.preparation.pair_rows import pair_rows
from llmops_assets.training.preparation.preview import PREVIEW_FILE, preview_markdown
from llmops_assets.training.preparation.thumb_rows import thumb_rows
from llmops_assets.training.preparation.validation import is_validation
from llmops_assets.training.rows import NothingToTrain

SourceAndRow = tuple[dict[str, Any], dict[str, Any]]

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

    The same set, settings and tokenizer give the same bytes.

    Raises NothingToTrain when no row is left to train on, or none fell into a validation share that was asked for;
    and what the stage's rows raise.
    """
    tokenizer = load_tokenizer(job.base_model)
    counts = Counts()
    for name in ("train_rows", "validation_rows") if job.spec.validation_share else ("train_rows",):
        counts.add(name, 0)
    sides: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for source, row in _stage_rows(job, tokenizer, counts):
        sides[is_validation(source, job.spec.validation_share)].append(row)
    _require_rows(job, sides, counts)
    columns = COLUMNS[job.spec.stage]
    for validation, file in ((False, TRAIN_FILE), (True, VALIDATION_FILE)):
        if sides[validation]:
            _write(job.output_dir / file, sides[validation], columns, job.spec)
            _count(counts, "validation" if validation else "train", read_prepared(job.output_dir, file))
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


def _write(path: Path, rows: list[dict[str, Any]], columns: dict[str, pa.DataType], spec: PreparationSpec) -> None:
    if not spec.packed:
        write_rows(path, rows, columns)
        return
    table = pa.Table.from_pylist(rows, schema=pa.schema(list(columns.items())))
    write_rows(path, iter(packed(Dataset(table), spec.max_length)), columns | {"seq_lengths": TOKENS})  # pyright: ignore[reportArgumentType]


def _count(counts: Counts, split: str, rows: Dataset) -> None:
    counts.add(f"{split}_rows", len(rows))
    if "input_ids" not in rows.column_names:
        lengths = [column for column in rows.column_names if column.endswith("_ids")]
        counts.add(f"{split}_tokens", sum(len(ids) for column in lengths for ids in rows[column]))
        return
    counts.add(f"{split}_tokens", sum(map(len, rows["input_ids"])))
    counts.add(f"{split}_tokens_with_loss", sum(label != IGNORED for labels in rows["labels"] for label in labels))


def _require_rows(job: PreparationJob, sides: dict[bool, list[dict[str, Any]]], counts: Counts) -> None:
    share, kept = job.spec.validation_share, len(sides[False]) + len(sides[True])
    if not kept:
        long = counts.as_dict().get("rows_too_long", 0)
        why = f"all {long} rows are longer than max_length: {job.spec.max_length} tokens" if long else "it is empty"
        raise NothingToTrain(f"{job.set_file}: nothing to train on, {why}")
    if share and not sides[True]:
        raise NothingToTrain(
            f"{job.set_file}: validation_share {share} of {kept} rows drew none; raise it, or set it to 0"
        )
    if not sides[False]:
        raise NothingToTrain(f"{job.set_file}: validation_share {share} of {kept} rows left none to train on; lower it")
