"""A run that went wrong ends at once, with advice, and leaves no checkpoint of what it became."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, TrainerState

from llmops_assets.training.checkpoints import CheckpointKeeper, all_checkpoints, step_of
from llmops_assets.training.control.loss_watch import LossDiverged, LossWatch, advice, spiking_above
from llmops_assets_tests.training.control import nan_on_one_rank
from llmops_assets_tests.training.control.tiny_run import rows, tiny_job, tiny_trainer

REPOSITORY = Path(__file__).parents[3]


def test_a_loss_that_is_no_number_ends_the_run_at_its_step_between_two_progress_lines(tmp_path: Path) -> None:
    # Rows are taken in order: the batch of step 4 has no token to learn from.
    poisoned = rows(1, 48, without_labels=(12, 13, 14, 15))
    trainer = tiny_trainer(
        tmp_path,
        train=poisoned,
        logging_steps=100,
        logging_first_step=True,
        save_steps=2,
        train_sampling_strategy="sequential",
    )
    trainer.add_callback(CheckpointKeeper("f", 2, {0: 1}))
    trainer.add_callback(LossWatch(trainer, tiny_job(tmp_path)))
    with pytest.raises(LossDiverged, match=r"tiny/sft_adapter: at step 4 the loss became NaN .*last good loss 4\.\d+"):
        trainer.train()
    assert [step_of(checkpoint) for checkpoint in all_checkpoints(tmp_path)] == [2]


def test_weights_that_are_no_numbers_are_not_written_as_a_checkpoint(tmp_path: Path) -> None:
    class Overflow(TrainerCallback):
        """The last update of step 3 overflows; its loss, taken before it, is fine."""

        def on_optimizer_step(self, args, state, control, model: Any = None, **_: Any) -> None:
            if state.global_step == 2:
                next(model.parameters()).data.view(-1)[5] = math.inf

    trainer = tiny_trainer(tmp_path, train=rows(1, 48), save_steps=3)
    trainer.add_callback(Overflow())
    trainer.add_callback(LossWatch(trainer, tiny_job(tmp_path)))
    with pytest.raises(LossDiverged, match="at step 3 the trained weights became NaN or infinite"):
        trainer.train()
    assert all_checkpoints(tmp_path) == []


def test_a_loss_that_climbs_and_stays_up_ends_the_run_with_a_computed_learning_rate(tmp_path: Path) -> None:
    job = tiny_job(tmp_path, learning_rate=30.0, loss_spike_factor=3.0, warmup_steps=10, max_steps=60)
    trainer = tiny_trainer(
        tmp_path, train=rows(1, 16), learning_rate=30.0, max_grad_norm=1e9, max_steps=60, warmup_steps=10,
        lr_scheduler_type="linear",
    )  # fmt: skip
    trainer.add_callback(LossWatch(trainer, job))
    with pytest.raises(LossDiverged) as caught:
        trainer.train()
    sentence = str(caught.value)
    assert "the loss has been above 3 x its running median of" in sentence
    assert "1. lower learning_rate from 30 to " in sentence
    assert "2. warm up longer, warmup_steps: 20 (now 10); 3. clip harder, max_grad_norm: 0.5 (now 1)" in sentence
    assert trainer.state.global_step < 60


def test_a_run_that_is_well_is_left_alone_and_so_is_one_that_resumes_on_an_empty_history(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, train=rows(1, 48), save_steps=6)
    trainer.add_callback(LossWatch(trainer, tiny_job(tmp_path, loss_spike_factor=1.5)))
    trainer.train()
    state_file = tmp_path / "checkpoint-6" / "trainer_state.json"
    state = TrainerState.load_from_json(str(state_file))
    state.log_history = []
    state.save_to_json(str(state_file))
    again = tiny_trainer(tmp_path, train=rows(1, 48))
    again.add_callback(LossWatch(again, tiny_job(tmp_path, loss_spike_factor=1.5)))
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert again.state.global_step == 12


def test_trainer_that_would_hide_nan_is_refused(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, train=rows(1, 4))
    trainer.args.logging_nan_inf_filter = True
    with pytest.raises(ValueError, match="logging_nan_inf_filter"):
        LossWatch(trainer, tiny_job(tmp_path))


@pytest.mark.parametrize(
    ("losses", "factor", "expected"),
    [
        ([2.0, 2.1, 1.9, 2.0, 2.0, 21.0, 22.0, 30.0], 10.0, 2.0),
        ([2.0, 2.1, 1.9, 2.0, 2.0, 21.0, 2.0, 30.0], 10.0, None),  # one of the three was usual
        ([2.0, 2.1, 1.9, 2.0, 2.0, 21.0, 22.0, 30.0], 0.0, None),  # switched off
        ([2.0, 2.1, 1.9, 2.0, 21.0, 22.0, 30.0], 10.0, None),  # four losses are no measure
        ([0.01, 0.01, 0.01, 0.01, 0.01, 0.3, 0.3, 0.3], 10.0, None),  # near zero, factors mean little
        ([0.01, 0.01, 0.01, 0.01, 0.01, 1.3, 1.3, 1.3], 10.0, 0.1),
        ([9.0] * 30 + [1.0] * 20 + [11.0, 12.0, 13.0], 10.0, 1.0),  # the median runs along
        ([], 10.0, None),
    ],
)
def test_spikes_are_told_from_the_running_median(losses: list[float], factor: float, expected: float | None) -> None:
    assert spiking_above(losses, factor) == expected


def test_advice_leaves_out_what_cannot_be_to_blame(tmp_path: Path) -> None:
    job = tiny_job(tmp_path, precision="bf16", max_grad_norm=5.0, warmup_ratio=0.2)
    steps = advice(job, 100, 1e-2, before_any_update=False)
    assert [step.partition(" ")[0] for step in steps] == ["lower", "warm", "clip", "look", "set"]
    assert steps[0] == "lower learning_rate from 0.01 to 0.003"
    assert steps[1:3] == ["warm up longer, warmup_steps: 40 (now 20)", "clip harder, max_grad_norm: 1 (now 5)"]
    assert steps[3] == "look for broken rows with `llmops preview tiny sft_rows`"
    at_once = advice(job, 100, 1e-2, before_any_update=True)
    assert "learning rate is not to blame" in at_once[0]
    assert len(at_once) == 2


@pytest.mark.slow
def test_all_ranks_end_together_when_the_rows_of_one_give_no_number(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", nan_on_one_rank.__name__, str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    said = [(tmp_path / f"rank-{rank}").read_text() for rank in (0, 1)]
    assert all("at step 3 the loss became NaN or infinite" in sentence for sentence in said)


def test_flags_of_all_tensors_are_looked_at() -> None:
    from llmops_assets.training.control.loss_watch import weights_are_finite

    last = torch.nn.Linear(2, 2)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), last)
    assert weights_are_finite(model)
    last.bias.data[0] = math.nan
    assert not weights_are_finite(model)
    last.requires_grad_(False)  # not trained: not ours to judge
    assert weights_are_finite(model)
