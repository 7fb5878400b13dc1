"""A run whose validation loss has stopped falling ends, and its best weights are the ones to publish."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import Trainer

from llmops_assets.training.checkpoints import CheckpointKeeper, all_checkpoints, step_of
from llmops_assets.training.control.early_stop import BestWeights, BestWeightsMissing, EarlyStop
from llmops_assets.training.control.evaluations import evaluations
from llmops_assets_tests.training.control.tiny_run import Killed, KilledAt, rows, tiny_job, tiny_trainer

# Random rows have nothing in common, so what is learned from some is wrong for the others.
TRAIN, VALIDATION = rows(1, 8), rows(2, 8)
SPEC = {"eval_every": 2, "early_stop_evaluations": 2, "validation_share": 0.2, "max_steps": 40}


def weights(trainer: Trainer) -> dict[str, Tensor]:
    assert trainer.model is not None
    return {name: value.detach().clone().contiguous() for name, value in trainer.model.named_parameters()}


def run(folder: Path, *, kill_at: int | None = None, resume: Path | None = None, **spec) -> tuple[Trainer, EarlyStop]:
    trainer = tiny_trainer(folder, train=TRAIN, validation=VALIDATION, max_steps=40, save_steps=3)
    stop = EarlyStop(tiny_job(folder, **(SPEC | spec)).spec, BestWeights(folder, lambda: weights(trainer)))
    trainer.add_callback(CheckpointKeeper("f", 2, {0: 1}))
    trainer.add_callback(stop)
    if kill_at is not None:
        trainer.add_callback(KilledAt(kill_at))
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return trainer, stop


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trainer, EarlyStop]:
    folder = tmp_path_factory.mktemp("stopped")
    return folder, *run(folder)


def test_plateau_ends_the_run_two_evaluations_after_its_best(stopped: tuple[Path, Trainer, EarlyStop]) -> None:
    _, trainer, stop = stopped
    losses = {row["step"]: row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row}
    outcome = stop.outcome(trainer.state)
    assert outcome["best_eval_loss"] == min(losses.values()) == losses[int(outcome["best_step"])]
    assert outcome["eval_loss"] == outcome["best_eval_loss"]  # of the weights that are published
    assert outcome["stopped_early_at_step"] == trainer.state.global_step == outcome["best_step"] + 4
    assert trainer.state.global_step < 40


def test_weights_of_the_best_evaluation_are_published_and_give_its_loss(
    stopped: tuple[Path, Trainer, EarlyStop],
) -> None:
    folder, trainer, stop = stopped
    published = stop.published(trainer.state)
    assert published is not None
    assert any(not torch.equal(published[name], value) for name, value in weights(trainer).items())
    again = tiny_trainer(folder, train=TRAIN, validation=VALIDATION)
    assert again.model is not None
    again.model.load_state_dict(published, strict=False)
    assert again.evaluate()["eval_loss"] == stop.outcome(trainer.state)["best_eval_loss"]


def test_no_checkpoint_is_written_at_the_step_of_the_stop(stopped: tuple[Path, Trainer, EarlyStop]) -> None:
    folder, trainer, _ = stopped
    steps = [step_of(checkpoint) for checkpoint in all_checkpoints(folder)]
    assert steps
    assert max(steps) < trainer.state.global_step


def test_killed_and_resumed_run_stops_at_the_same_step_with_the_same_weights(
    stopped: tuple[Path, Trainer, EarlyStop], tmp_path: Path
) -> None:
    _, whole, whole_stop = stopped
    with pytest.raises(Killed):
        run(tmp_path, kill_at=whole.state.global_step - 1)
    newest = all_checkpoints(tmp_path)[-1]
    assert 0 < step_of(newest) < whole.state.global_step
    trainer, stop = run(tmp_path, resume=newest)
    assert stop.outcome(trainer.state) == whole_stop.outcome(whole.state)
    expected, published = whole_stop.published(whole.state), stop.published(trainer.state)
    assert expected is not None
    assert published is not None
    assert all(torch.equal(published[name], value) for name, value in expected.items())


def test_without_patience_the_run_comes_to_its_end_and_publishes_its_last_weights(tmp_path: Path) -> None:
    trainer, stop = run(tmp_path, early_stop_evaluations=0)
    assert trainer.state.global_step == 40
    assert stop.published(trainer.state) is None
    outcome = stop.outcome(trainer.state)
    assert "stopped_early_at_step" not in outcome
    assert outcome["eval_loss"] == evaluations(trainer.state.log_history)[-1].loss >= outcome["best_eval_loss"]
    assert not list(tmp_path.glob("best-*"))


def test_kept_weights_go_when_no_checkpoint_needs_them_and_what_lies_after_a_resume_goes_too(tmp_path: Path) -> None:
    kept = BestWeights(tmp_path, lambda: {"weight": torch.zeros(1)})
    for step in (2, 4, 6):
        kept.keep(step)
    kept.discard(before=4)
    kept.discard(after=4)
    assert [file.name for file in tmp_path.iterdir()] == ["best-4.safetensors"]
    assert torch.equal(kept.load(4)["weight"], torch.zeros(1))
    with pytest.raises(BestWeightsMissing, match=r"best-6\.safetensors is missing"):
        kept.load(6)
