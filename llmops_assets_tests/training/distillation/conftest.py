"""A tiny student, a larger teacher with a padded vocabulary, prepared rows, and the teacher recorded on them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from transformers import Qwen2Config, Qwen2ForCausalLM

from llmops_assets.training.chat_template import assistant_mask
from llmops_assets.training.digests import weights_digest
from llmops_assets.training.distillation.job import TeacherLogitsJob, TeacherRef
from llmops_assets.training.distillation.specs import RecordingSpec
from llmops_assets.training.job import BaseModelRef, TrainingJob
from llmops_assets.training.model import load_tokenizer
from llmops_assets.training.preparation.arrow_rows import COUNTS_FILE, TOKENS, write_rows
from llmops_assets.training.specs import AnyStageSpec
from llmops_assets_tests.training.conftest import deepspeed_config, make_base, sentence

IGNORED = -100
PADDED_VOCABULARY = 448
ROWS = 24


@dataclass(frozen=True)
class World:
    """What a distillation starts from."""

    student: BaseModelRef
    teacher: BaseModelRef
    padded: Path
    packed: Path

    def job(self, output_dir: Path, rows: Path, top_k: int) -> TeacherLogitsJob:
        return TeacherLogitsJob(
            teacher=TeacherRef(base_model=self.teacher),
            spec=RecordingSpec(top_k=top_k, precision="fp32", batch_size=5),
            student=self.student,
            rows=rows,
            output_dir=output_dir,
        )

    def training(self, folder: Path, rows: Path, teacher: Path | None, spec: dict[str, Any]) -> TrainingJob:
        """A job of the kd stage on prepared rows, with small defaults that `spec` overrides."""
        defaults = {"stage": "kd", "max_steps": 4, "learning_rate": 1e-2, "max_grad_norm": 1000.0, "batch_size": 4}
        defaults |= {"lora_r": 4, "lora_alpha": 8, "precision": "fp32", "num_threads": 1, "logging_steps": 1}
        merged = TypeAdapter(AnyStageSpec).validate_python(defaults | spec)
        return TrainingJob(
            recipe="tiny",
            asset="kd_adapter",
            fingerprint="kd",
            spec=merged,
            base_model=self.student,
            rows=rows,
            teacher_logits=teacher,
            inputs={"rows": "test"},
            deepspeed_config=deepspeed_config(merged.backend),
            output_dir=folder / "output",
            checkpoint_dir=folder / "checkpoints",
        )


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("distillation")
    student = make_base(folder / "student", seed=1)
    teacher = make_teacher(folder / "teacher")
    rows = chat_rows(student)
    columns = {"input_ids": TOKENS, "labels": TOKENS}
    write_rows(folder / "padded" / "train.arrow", rows, columns)
    write_rows(folder / "padded" / "validation.arrow", rows[:6], columns)
    (folder / "padded" / COUNTS_FILE).write_text(json.dumps({"train_rows": len(rows)}))
    write_rows(folder / "packed" / "train.arrow", packed(rows), columns | {"seq_lengths": TOKENS})
    return World(student, teacher, folder / "padded", folder / "packed")


def make_teacher(folder: Path) -> BaseModelRef:
    """A deeper and sharper model with the same tokenizer, whose embeddings are padded beyond it."""
    make_base(folder, seed=2)
    config = Qwen2Config.from_pretrained(folder)
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 64, 128, 3
    config.initializer_range = 0.25
    config.layer_types = None
    torch.manual_seed(4)
    model = Qwen2ForCausalLM(Qwen2Config(**{**config.to_dict(), "layer_types": None}))
    model.resize_token_embeddings(PADDED_VOCABULARY, mean_resizing=False)
    model.save_pretrained(folder)
    return BaseModelRef(name=str(folder), digest=weights_digest(folder))


def chat_rows(base: BaseModelRef) -> list[dict[str, list[int]]]:
    tokenizer = load_tokenizer(base)
    rows = []
    for index in range(ROWS):
        question = {"role": "user", "content": f"What does item {index} do?"}
        ids, mask = assistant_mask(tokenizer, [question, {"role": "assistant", "content": sentence(index)}])
        labels = [token if trained else IGNORED for token, trained in zip(ids, mask, strict=True)]
        rows.append({"input_ids": ids, "labels": labels})
    return rows


def packed(rows: list[dict[str, list[int]]]) -> list[dict[str, list[int]]]:
    """Two conversations to a row, in the order in which a batch of padded rows has them."""
    return [
        {
            "input_ids": left["input_ids"] + right["input_ids"],
            "labels": left["labels"] + right["labels"],
            "seq_lengths": [len(left["input_ids"]), len(right["input_ids"])],
        }
        for left, right in zip(rows[::2], rows[1::2], strict=True)
    ]
