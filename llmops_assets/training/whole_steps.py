"""Every optimizer step takes the same rows, however its micro batches are divided among ranks and accumulation."""

import itertools
from collections.abc import Iterator

from accelerate.data_loader import DataLoaderShard, SeedableRandomSampler, get_sampler
from torch.utils.data import DataLoader, Sampler
from transformers import Trainer


class WholeSteps(Trainer):
    """Mixin for trainers: the last step of an epoch is filled up with the epoch's first rows.

    Without it that step would depend on how it is divided: accelerate fills up the batches of two ranks, but not the
    two micro batches of one rank. With it N ranks x G micro batches train on what M ranks x N*G/M train on, step by
    step, which is what lets a run continue on another number of ranks. N ranks with G = 1 do as they would without it.
    """

    def get_train_dataloader(self) -> DataLoader:
        """Return the trainer's own loader, over whole steps."""
        loader = super().get_train_dataloader()
        shuffled = get_sampler(loader)
        assert isinstance(loader, DataLoaderShard), "accelerate wraps the loader of a map-style data set so"
        assert isinstance(shuffled, SeedableRandomSampler), "accelerate shuffles with a seed of the data alone"
        # Ranks and micro batches come to the same: rows of one optimizer step.
        loader.set_sampler(FilledUp(shuffled, self.get_total_train_batch_size(self.args)))
        return loader


class FilledUp(Sampler[int]):
    """The indices of `sampler`, then its first ones again until their number is a multiple of `rows`."""

    def __init__(self, sampler: SeedableRandomSampler, rows: int) -> None:
        self._sampler = sampler
        self._rows = rows

    def __iter__(self) -> Iterator[int]:
        indices = list(self._sampler)
        return itertools.islice(itertools.cycle(indices), len(self))

    def __len__(self) -> int:
        return -(-len(self._sampler) // self._rows) * self._rows

    def set_epoch(self, epoch: int) -> None:
        """Shuffle as in this epoch; accelerate calls it before each."""
        self._sampler.set_epoch(epoch)
