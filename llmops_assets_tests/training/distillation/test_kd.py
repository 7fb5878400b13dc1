"""The loss of distillation against plain torch and plain TRL, in every way in which rows are batched."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import set_seed
from trl.trainer.sft_config import SFTConfig

from llmops_assets.training import kd
from llmops_assets.training.distillation.divergence import Divergence
from llmops_assets.training.distillation.teacher_logits import IDS, LOG_PROBS, record_teacher
from llmops_assets.training.kd import KdConfig, KdTrainer, WrongTeacherRows
from llmops_assets.training.model import load_base_model, load_tokenizer, new_adapter
from llmops_assets.training.preparation.arrow_rows import read_rows
from llmops_assets.training.rows import TrainingRows, joined
from llmops_assets.training.sft import SftTrainer
from llmops_assets.training.specs import KdSpec
from llmops_assets_tests.training.distillation.conftest import IGNORED, World

TEMPERATURE, ALPHA, BETA = 2.0, 0.3, 0.4
BATCH = 4


def kd_spec(**changes: Any) -> KdSpec:
    defaults = {"max_steps": 3, "learning_rate": 1e-2, "lora_r": 4, "lora_alpha": 8, "precision": "fp32"}
    return KdSpec.model_validate(defaults | {"temperature": TEMPERATURE, "alpha": ALPHA} | changes)


@pytest.fixture(scope="module")
def recordings(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The teacher on padded rows with its whole vocabulary, and with few tokens on padded and on packed rows."""
    folder = tmp_path_factory.mktemp("recordings")
    for name, rows, top_k in (("whole", world.padded, 1000), ("padded", world.padded, 8), ("packed", world.packed, 8)):
        record_teacher(world.job(folder / name, rows, top_k))
    return {path.name: path for path in folder.iterdir()}


def trainer_on(
    world: World, rows: Path, teacher: Path | None, spec: KdSpec, output: Path, **arguments: Any
) -> KdTrainer | SftTrainer:
    """A trainer of a fresh LoRA whose B matrices are not zero, so that every LoRA weight has a gradient."""
    train = TrainingRows(read_rows(rows), None)
    model = new_adapter(load_base_model(world.student, "fp32"), spec)
    set_seed(11)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    settings: dict[str, Any] = {
        "output_dir": str(output),
        "max_steps": 3,
        "learning_rate": 1e-2,
        "per_device_train_batch_size": BATCH,
        "max_length": None,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "seed": 7,
        "data_seed": 7,
    }
    settings |= arguments
    tokenizer = load_tokenizer(world.student)
    if teacher is None:
        config = SFTConfig(**settings)
        return SftTrainer(model=model, args=config, train_dataset=train.train, processing_class=tokenizer)
    terms: dict[str, Any] = {"kd_alpha": spec.alpha, "kd_temperature": spec.temperature}
    terms |= {"kd_divergence": spec.divergence, "kd_jsd_beta": spec.jsd_beta}
    config = KdConfig(**settings, **terms)
    both = TrainingRows(joined(train.train, read_rows(teacher), teacher), None)
    trainer = kd.build_trainer(model, tokenizer, both, config)
    assert isinstance(trainer, KdTrainer)
    return trainer


def loss_and_gradients(trainer: KdTrainer | SftTrainer, rows: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and LoRA gradients of one batch of the first `rows` rows, in evaluation mode (there is no dropout)."""
    assert isinstance(trainer.train_dataset, Dataset)
    model: Any = trainer.model
    batch = trainer.data_collator([trainer.train_dataset[index] for index in range(rows)])
    model.zero_grad()
    loss = trainer.compute_loss(model, trainer._prepare_inputs(batch))
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def plain_torch(trainer: KdTrainer, divergence: Divergence, vocabulary: int) -> torch.Tensor:
    """The same loss from full logits, row by row, with the papers' formulas."""
    model: Any = trainer.model
    ce, divergences = [], []
    for index in range(BATCH):
        row: Any = trainer.train_dataset[index]  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]
        labels = torch.tensor(row["labels"])[1:]
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1][labels != IGNORED]
        ce.append(torch.nn.functional.cross_entropy(logits, labels[labels != IGNORED], reduction="none"))
        teacher = torch.empty(len(logits), vocabulary)
        teacher.scatter_(
            1, torch.tensor(row[IDS]).view(-1, vocabulary), torch.tensor(row[LOG_PROBS]).view(-1, vocabulary)
        )
        p, q = (teacher / TEMPERATURE).softmax(-1), (logits[:, :vocabulary] / TEMPERATURE).softmax(-1)
        if divergence == "forward_kl":
            divergences.append((p * (p / q).log()).sum(-1))
        elif divergence == "reverse_kl":
            divergences.append((q * (q / p).log()).sum(-1))
        else:
            m = BETA * p + (1 - BETA) * q
            divergences.append(BETA * (p * (p / m).log()).sum(-1) + (1 - BETA) * (q * (q / m).log()).sum(-1))
    return ALPHA * torch.cat(ce).mean() + (1 - ALPHA) * TEMPERATURE**2 * torch.cat(divergences).mean()


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd"])
def test_loss_and_gradients_are_those_of_plain_torch(
    world: World, recordings: dict[str, Path], tmp_path: Path, divergence: Divergence
) -> None:
    spec = kd_spec(divergence=divergence, **({"jsd_beta": BETA} if divergence == "jsd" else {}))
    trainer = trainer_on(world, world.padded, recordings["whole"], spec, tmp_path)
    assert isinstance(trainer, KdTrainer)
    loss, gradients = loss_and_gradients(trainer, BATCH)

    model: Any = trainer.model
    model.zero_grad()
    expected = plain_torch(trainer, divergence, len(load_tokenizer(world.student)))
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), abs=2e-6)
    assert len(gradients) == 28
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-7)


def test_packed_and_padding_free_rows_have_the_loss_of_padded_ones(
    world: World, recordings: dict[str, Path], tmp_path: Path
) -> None:
    padded = trainer_on(world, world.padded, recordings["padded"], kd_spec(), tmp_path)
    free = trainer_on(world, world.padded, recordings["padded"], kd_spec(), tmp_path, padding_free=True)
    packed = trainer_on(world, world.packed, recordings["packed"], kd_spec(), tmp_path, padding_free=True)
    loss, gradients = loss_and_gradients(padded, BATCH)
    for trainer, rows in ((free, BATCH), (packed, BATCH // 2)):
        other, others = loss_and_gradients(trainer, rows)
        assert other.item() == pytest.approx(loss.item(), rel=1e-6)
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, rtol=1e-4, atol=1e-6)


def test_without_the_teachers_weight_training_is_that_of_trl(
    world: World, recordings: dict[str, Path], tmp_path: Path
) -> None:
    """alpha 1 leaves TRL's loss, metrics and steps alone: equal to the last bit."""
    plain = trainer_on(world, world.padded, None, kd_spec(), tmp_path)
    mixed = trainer_on(world, world.padded, recordings["padded"], kd_spec(alpha=1.0), tmp_path)
    for trainer in (plain, mixed):
        trainer.train()
    shared = ("loss", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens")
    logs = [
        [{key: line[key] for key in shared} for line in trainer.state.log_history if "loss" in line]
        for trainer in (plain, mixed)
    ]
    assert len(logs[0]) == 3
    assert logs[0] == logs[1]
    line = next(line for line in mixed.state.log_history if "loss" in line)
    assert line["kd/ce"] == pytest.approx(line["loss"], rel=1e-6)
    assert line["kd/divergence"] > 0


def test_the_teacher_alone_pulls_the_student_towards_it(
    world: World, recordings: dict[str, Path], tmp_path: Path
) -> None:
    """With alpha 0 the loss is the softened divergence, and it falls along its gradient."""
    trainer = trainer_on(world, world.padded, recordings["padded"], kd_spec(alpha=0.0), tmp_path)
    model: Any = trainer.model
    model.train()
    losses = []
    for _ in range(4):
        loss, gradients = loss_and_gradients(trainer, BATCH)
        losses.append(loss.item())
        with torch.no_grad():
            for name, gradient in gradients.items():
                model.get_parameter(name).sub_(gradient)
    logged = trainer._metrics["train"]["kd/divergence"]
    assert losses == pytest.approx([TEMPERATURE**2 * divergence for divergence in logged], rel=1e-5)
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))


def test_validation_reports_the_terms_of_its_own_rows(
    world: World, recordings: dict[str, Path], tmp_path: Path
) -> None:
    trainer = trainer_on(world, world.padded, recordings["padded"], kd_spec(), tmp_path)
    evaluation = joined(
        read_rows(world.padded, "validation.arrow"),
        read_rows(recordings["padded"], "validation.arrow"),
        recordings["padded"],
    )
    figures = trainer.evaluate(evaluation)  # pyright: ignore[reportArgumentType]
    mixture = ALPHA * figures["eval_kd/ce"] + (1 - ALPHA) * TEMPERATURE**2 * figures["eval_kd/divergence"]
    assert figures["eval_loss"] == pytest.approx(mixture, rel=0.02)  # a mean of batches against a mean of tokens


def test_recordings_of_other_rows_are_refused(world: World, recordings: dict[str, Path], tmp_path: Path) -> None:
    trainer = trainer_on(world, world.padded, recordings["padded"], kd_spec(), tmp_path)
    assert isinstance(trainer.train_dataset, Dataset)
    with pytest.raises(WrongTeacherRows, match="rows without teacher_ids"):
        bare = TrainingRows(read_rows(world.padded), None)
        kd.build_trainer(trainer.model, load_tokenizer(world.student), bare, trainer.args)  # pyright: ignore[reportArgumentType]
    shifted = [
        {**trainer.train_dataset[0], **{key: trainer.train_dataset[3][key] for key in kd.COLUMNS}},
    ]
    assert len(np.asarray(shifted[0]["teacher_tail"])) != sum(label != IGNORED for label in shifted[0]["labels"])
    model: Any = trainer.model
    with pytest.raises(WrongTeacherRows, match="materialize teacher_logits again"):
        trainer.compute_loss(model, trainer._prepare_inputs(trainer.data_collator(shifted)))


def test_a_jobs_spec_reaches_the_loss_and_sequence_distillation_is_plain_fine_tuning(
    world: World, tmp_path: Path
) -> None:
    rows = TrainingRows(read_rows(world.padded), None)
    spec = {"stage": "kd", "divergence": "jsd", "jsd_beta": 0.2, "alpha": 0.1, "temperature": 3.0, "backend": "plain"}
    logits = kd.training_arguments(world.training(tmp_path, world.padded, None, spec), rows)
    assert isinstance(logits, KdConfig)
    assert (logits.kd_divergence, logits.kd_jsd_beta, logits.kd_alpha, logits.kd_temperature) == ("jsd", 0.2, 0.1, 3.0)

    spec = {"stage": "kd", "method": "sequence", "backend": "plain"}
    job = world.training(tmp_path, world.padded, None, spec)
    model = new_adapter(load_base_model(world.student, "fp32"), job.spec)
    trainer = kd.build_trainer(model, load_tokenizer(world.student), rows, kd.training_arguments(job, rows))
    assert type(trainer) is SftTrainer
