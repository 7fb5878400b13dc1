"""Records a teacher at the labelled positions of prepared rows, so that no student has to run it again.

A row's columns are flat: with n labelled positions, `teacher_ids` and `teacher_log_probs` have n * k entries, position
by position, and `teacher_tail` has n. They are taken at temperature 1; students soften them as they like.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel

from llmops_assets.training.adapter_files import write_atomically
from llmops_assets.training.distillation.divergence import TopK, top_k_of
from llmops_assets.training.distillation.job import RESULT_FILE, TeacherLogitsJob, TeacherLogitsResult
from llmops_assets.training.distillation.labelled_positions import Document, documents_of, states_before_labels
from llmops_assets.training.distillation.teacher import Teacher, load_teacher
from llmops_assets.training.distillation.vocabulary import output_head, require_same_tokenizer
from llmops_assets.training.model import load_tokenizer
from llmops_assets.training.preparation.arrow_rows import (
    TOKENS,
    TRAIN_FILE,
    VALIDATION_FILE,
    has_validation,
    read_rows,
    write_rows,
)

IDS, LOG_PROBS, TAIL = "teacher_ids", "teacher_log_probs", "teacher_tail"
COLUMNS: dict[str, pa.DataType] = {
    IDS: TOKENS,
    LOG_PROBS: pa.list_(pa.float16()),
    TAIL: pa.list_(pa.float32()),
}

# Documents of so many batches are sorted by length before they are batched.
_BATCHES_SORTED = 32
# Logits that are turned into their top k at once.
_LOGITS_PER_CHUNK = {"cpu": 1 << 22, "cuda": 1 << 28}


@dataclass
class Figures:
    """Sums over all recorded positions."""

    positions: int = 0
    tail_mass: float = 0.0
    label_nll: float = 0.0
    label_hits: int = 0


def record_teacher(job: TeacherLogitsJob) -> TeacherLogitsResult:
    """Write the teacher's top-k log-probs for all rows of `job`; teacher_logits.json comes last.

    Raises DifferentTokenizer, UnusableHead, MissingRows, and what loading the teacher raises.
    """
    began = time.monotonic()
    teacher = load_teacher(job.teacher, job.spec)
    vocabulary = require_same_tokenizer(load_tokenizer(job.student), teacher.tokenizer)
    recorder = Recorder(teacher, vocabulary, min(job.spec.top_k, vocabulary), job.spec.batch_size)
    files = [TRAIN_FILE, *([VALIDATION_FILE] if has_validation(job.rows) else [])]
    written = {
        file: write_rows(job.output_dir / file, recorder.rows(read_rows(job.rows, file)), COLUMNS) for file in files
    }
    figures = recorder.figures
    positions = max(1, figures.positions)
    result = TeacherLogitsResult(
        teacher=job.teacher.digest,
        vocabulary=vocabulary,
        top_k=recorder.top_k,
        train_rows=written[TRAIN_FILE],
        validation_rows=written.get(VALIDATION_FILE, 0),
        positions=figures.positions,
        mean_tail_mass=figures.tail_mass / positions,
        label_nll=figures.label_nll / positions,
        label_accuracy=figures.label_hits / positions,
        bytes=sum((job.output_dir / file).stat().st_size for file in files),
        seconds=round(time.monotonic() - began, 3),
    )
    write_atomically(job.output_dir / RESULT_FILE, result.model_dump_json(indent=2).encode("utf-8"))
    return result


class Recorder:
    """Runs a teacher over rows. Documents of a packed row are read one by one: the student does not mix them either."""

    def __init__(self, teacher: Teacher, vocabulary: int, top_k: int, batch_size: int) -> None:
        """Raises UnusableHead."""
        core = teacher.model
        if isinstance(core, PeftModel):
            # PEFT promises a Module, for it wraps any; under a causal language model's adapter is such a model.
            core = cast(PreTrainedModel, core.get_base_model())
        self.top_k = top_k
        self.figures = Figures()
        self._backbone: Any = core.base_model
        self._device = teacher.device
        self._batch_size = batch_size
        head = output_head(core, vocabulary)
        self._weight = head.weight[:vocabulary]
        self._bias = None if head.bias is None else head.bias[:vocabulary]

    def rows(self, rows: Dataset) -> Iterator[dict[str, np.ndarray]]:
        """Yield the columns of each row, in the order of `rows`."""
        # The annotation of Dataset's rows has those of every output format; without one, they are mappings.
        remaining = cast(Iterator[Mapping[str, Any]], iter(rows))
        while window := [documents_of(row) for row in islice(remaining, self._batch_size * _BATCHES_SORTED)]:
            recorded = iter(self._recorded([document for row in window for document in row]))
            for row in window:
                yield _columns([next(recorded) for _ in row])

    @torch.inference_mode()
    def _recorded(self, documents: list[Document]) -> list[TopK]:
        """Return the teacher at the labelled positions of each document; documents of like length share a batch."""
        recorded: dict[int, TopK] = {}
        order = sorted(range(len(documents)), key=lambda index: len(documents[index].ids), reverse=True)
        for begin in range(0, len(order), self._batch_size):
            batch = order[begin : begin + self._batch_size]
            states = states_before_labels(self._backbone, [documents[index] for index in batch], self._device)
            labels, hidden = (torch.cat(parts) for parts in zip(*states, strict=True))
            kept, at = self._top_k(hidden, labels), 0
            for index in batch:
                end = at + len(documents[index].labelled)
                recorded[index] = kept.rows(at, end)
                at = end
        return [recorded[index] for index in range(len(documents))]

    def _top_k(self, hidden: torch.Tensor, labels: torch.Tensor) -> TopK:
        step = max(1, _LOGITS_PER_CHUNK[self._device.type] // len(self._weight))
        parts = [
            self._chunk(hidden[at : at + step], labels[at : at + step]) for at in range(0, max(1, len(labels)), step)
        ]
        return TopK(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _chunk(self, hidden: torch.Tensor, labels: torch.Tensor) -> TopK:
        logits = torch.nn.functional.linear(hidden, self._weight, self._bias).float()
        kept = top_k_of(logits, self.top_k)
        self.figures.positions += len(labels)
        self.figures.tail_mass += float(kept.tail.exp().double().sum())
        self.figures.label_nll += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        self.figures.label_hits += int((kept.token_ids[:, 0] == labels).sum())
        return TopK(kept.token_ids.to("cpu", torch.int32), kept.log_probs.to("cpu", torch.float16), kept.tail.cpu())


def _columns(parts: list[TopK]) -> dict[str, np.ndarray]:
    columns = (torch.cat(column).flatten().numpy() for column in zip(*parts, strict=True))
    return dict(zip((IDS, LOG_PROBS, TAIL), columns, strict=True))
