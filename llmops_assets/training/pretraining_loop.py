"""The training loop of the embedded base model: data-parallel single-threaded workers, checkpoints, exact resume."""

import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn
from torch.nn import functional
from transformers import Qwen2Config, Qwen2ForCausalLM

from llmops_assets.training.pretraining_data import TokenRows, row_order
from llmops_assets.training.pretraining_optimizer import PretrainingOptimizer, warmup_stable_decay
from llmops_assets.training.process import leave_process_group
from llmops_assets.training.tokenizer_training import END_OF_TEXT_ID, TURN_END_ID

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaseModelRecipe:
    """Everything that decides the weights, next to the source packages. Defaults are those of the shipped model.

    `batch_rows` rows of `row_length` tokens make one step; `workers` processes share them evenly and each works through
    its part in micro-batches of `micro_batch_rows`. `learning_rate` is the peak for both optimizers.
    """

    vocab_size: int = 4096
    hidden_size: int = 256
    intermediate_size: int = 640
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    context_length: int = 1024
    row_length: int = 512
    batch_rows: int = 8
    micro_batch_rows: int = 4
    workers: int = 2
    steps: int = 2000
    warmup_steps: int = 40
    decay_steps: int = 500
    learning_rate: float = 5e-3
    weight_decay: float = 0.05
    seed: int = 20
    checkpoint_every: int = 50


def new_model(recipe: BaseModelRecipe) -> Qwen2ForCausalLM:
    """Return a randomly initialized float32 model of the recipe's shape; equal seeds give equal weights."""
    torch.manual_seed(recipe.seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=recipe.vocab_size,
            hidden_size=recipe.hidden_size,
            intermediate_size=recipe.intermediate_size,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.key_value_heads,
            max_position_embeddings=recipe.context_length,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=TURN_END_ID,
            pad_token_id=END_OF_TEXT_ID,
        )
    )


def train_worker(rank: int, recipe: BaseModelRecipe, state_dir: Path, last_step: int) -> None:
    """Train up to `last_step` on `state_dir/rows.npy` as worker `rank`; worker 0 writes `state_dir/checkpoint.pt`.

    One thread per process: on shared cores two threads wait for each other at every operator, two processes once a
    step. The gradient of a step is the mean of the workers', so the weights depend on `workers` but not on timing.
    """
    torch.set_num_threads(1)
    if recipe.workers > 1:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        rendezvous = state_dir / f"rendezvous-{os.getppid()}"
        distributed.init_process_group(
            "gloo", init_method=rendezvous.absolute().as_uri(), rank=rank, world_size=recipe.workers
        )
    rows = np.load(state_dir / "rows.npy", mmap_mode="r")
    checkpoint = state_dir / "checkpoint.pt"
    # Not an argument: processes share the memory of tensors they are handed, and would each update the same weights.
    model = new_model(recipe)
    optimizer = PretrainingOptimizer(model, recipe.weight_decay)
    done, seconds = _restore(checkpoint, model, optimizer)
    order = row_order(len(rows), recipe.batch_rows, recipe.steps, recipe.seed)
    share = recipe.batch_rows // recipe.workers
    started = time.monotonic() - seconds
    for step in range(done, last_step):
        scale = warmup_stable_decay(step, recipe.steps, recipe.warmup_steps, recipe.decay_steps)
        mine = order[step, rank * share : (rank + 1) * share]
        loss = _accumulate_gradients(model, rows[mine], recipe)
        if recipe.workers > 1:
            _average_gradients(model.parameters(), recipe.workers)
        optimizer.step(recipe.learning_rate * scale)
        done, seconds = step + 1, time.monotonic() - started
        if rank == 0 and done % 10 == 0:
            speed = done * recipe.batch_rows * recipe.row_length / seconds
            rate = recipe.learning_rate * scale
            logger.info("step %d/%d loss %.4f lr %.2e %.0f tokens/s", done, recipe.steps, loss, rate, speed)
        if rank == 0 and (done % recipe.checkpoint_every == 0 or done == last_step):
            _save(checkpoint, model, optimizer, done, seconds)
    if recipe.workers > 1:
        distributed.barrier()
        leave_process_group()


def _accumulate_gradients(model: Qwen2ForCausalLM, batch: TokenRows, recipe: BaseModelRecipe) -> float:
    """Add the gradient of the mean loss over `batch`, shape (rows, row_length); return that loss in nats per token."""
    tokens = torch.from_numpy(batch.astype(np.int64))
    total = 0.0
    for micro_batch in tokens.split(recipe.micro_batch_rows):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=micro_batch, use_cache=False).logits
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), micro_batch[:, 1:].flatten())
        loss = loss * (len(micro_batch) / len(tokens))
        loss.backward()
        total += loss.item()
    return total


def _average_gradients(parameters: Iterable[nn.Parameter], workers: int) -> None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= workers
    offset = 0
    for gradient in gradients:
        gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
        offset += gradient.numel()


def _restore(checkpoint: Path, model: nn.Module, optimizer: PretrainingOptimizer) -> tuple[int, float]:
    if not checkpoint.is_file():
        return 0, 0.0
    saved = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    logger.info("continuing after step %d", saved["step"])
    return saved["step"], saved["seconds"]


def _save(checkpoint: Path, model: nn.Module, optimizer: PretrainingOptimizer, step: int, seconds: float) -> None:
    partial = checkpoint.with_suffix(".partial")
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}
    torch.save(state, partial)
    partial.replace(checkpoint)
