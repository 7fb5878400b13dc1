"""An optimizer step's rows do not depend on how they are divided, at the end of an epoch neither."""

from pathlib import Path

from accelerate.data_loader import BatchSamplerShard, SeedableRandomSampler
from torch.utils.data import BatchSampler

from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.run import train
from llmops_assets.training.whole_steps import FilledUp

from .conftest import Files, make_job, write_jsonl


def shuffled(rows: int) -> SeedableRandomSampler:
    return SeedableRandomSampler(range(rows), data_seed=7)


def test_an_epoch_is_filled_up_with_its_own_first_rows() -> None:
    sampler = FilledUp(shuffled(10), 8)
    sampler.set_epoch(3)
    rows = list(sampler)
    assert len(rows) == len(sampler) == 16
    assert sorted(rows[:10]) == list(range(10))
    assert rows[10:] == rows[:6]


def test_a_set_smaller_than_a_step_is_repeated() -> None:
    rows = list(FilledUp(shuffled(3), 8))
    assert rows == (rows[:3] * 3)[:8]


def test_each_epoch_is_shuffled_anew_and_the_same_way_every_time() -> None:
    sampler, again = FilledUp(shuffled(10), 4), FilledUp(shuffled(10), 4)
    epochs = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert epochs[0] != epochs[1]
    again.set_epoch(1)
    assert list(again) == epochs[1]


def test_two_ranks_get_what_accelerate_gives_them_without_filling_up() -> None:
    for rank in (0, 1):
        ours, theirs = (
            BatchSamplerShard(BatchSampler(sampler, 4, drop_last=False), num_processes=2, process_index=rank)
            for sampler in (FilledUp(shuffled(13), 8), shuffled(13))
        )
        assert list(ours) == list(theirs)


def test_one_rank_that_accumulates_takes_whole_steps_over_the_end_of_an_epoch(
    base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    rows = [{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "list"}]}] * 9
    spec = {"stage": "sft", "backend": "plain", "gradient_accumulation": 2, "max_steps": 4}
    result = train(make_job(tmp_path, base, write_jsonl(tmp_path / "nine.jsonl", rows), spec))
    assert result is not None
    tokens_per_row = result.metrics["train_tokens"] / 9
    assert result.tokens_seen == 4 * 8 * tokens_per_row
