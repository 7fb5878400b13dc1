"""DPO training with each batching against plain TRL: losses, metrics, weights, cached references and engines."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.speed.pair_batching import PairBatching, batch_pairs, pair_scorer
from llmops_assets_tests.training.conftest import worker_environment
from llmops_assets_tests.training.speed.pairs import STEPS, collated, dpo_trainer, history, pairs, small_lora

BATCHINGS = get_args(PairBatching)
ROWS = pairs(4 * STEPS)
# What the loss and the metrics are in: nats of single tokens, beta times nats of texts, nats of texts.
METRICS = {
    "loss": 5e-6,
    "grad_norm": 1e-5,
    "entropy": 2e-6,
    "mean_token_accuracy": 0,
    "num_tokens": 0,
    "logits/chosen": 1e-7,
    "logits/rejected": 1e-7,
    "logps/chosen": 1e-4,
    "logps/rejected": 1e-4,
    "rewards/chosen": 1e-5,
    "rewards/rejected": 1e-5,
    "rewards/margins": 1e-5,
    "rewards/accuracies": 0,
}


@pytest.fixture(scope="module")
def plain(base: BaseModelRef, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, float]], dict]:
    """TRL as it is, with a live reference: its log and the weights it ends with."""
    trainer = dpo_trainer(base.name, tmp_path_factory.mktemp("plain"), ROWS)
    return history(trainer), trained(trainer)


@pytest.mark.parametrize("cached", [False, True], ids=["live reference", "cached reference"])
@pytest.mark.parametrize("batching", ["padding_free", "prefix_sharing"])
def test_training_is_that_of_plain_trl(
    base: BaseModelRef, tmp_path: Path, plain: tuple, batching: PairBatching, cached: bool
) -> None:
    rows = with_reference(base, batching) if cached else ROWS
    trainer = dpo_trainer(base.name, tmp_path, rows)
    trainer.precompute_ref_logps = cached
    batch_pairs(trainer, batching)
    log = history(trainer)
    expected, weights = plain
    assert [round(entry["loss"], 4) for entry in log] == [round(entry["loss"], 4) for entry in expected]
    for step, entry in zip(expected, log, strict=True):
        # A policy that still is the reference has margins of rounding alone, and their signs make the accuracy.
        metrics = METRICS if step["step"] > 1 else {k: v for k, v in METRICS.items() if k != "rewards/accuracies"}
        for metric, tolerance in metrics.items():
            assert entry[metric] == pytest.approx(step[metric], rel=0, abs=tolerance), (metric, step["step"])
    for name, weight in trained(trainer).items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batching", BATCHINGS)
def test_cached_log_probs_under_autocast_are_those_of_the_policy(
    base: BaseModelRef, tmp_path: Path, batching: PairBatching
) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        rows = with_reference(base, batching, torch.bfloat16)
    trainer = dpo_trainer(base.name, tmp_path, rows, bf16=True, max_steps=1)
    trainer.precompute_ref_logps = True
    batch_pairs(trainer, batching)
    (first,) = history(trainer)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-3)


def test_scores_do_not_depend_on_the_batching_or_the_batch(base: BaseModelRef) -> None:
    batch = collated(ROWS[:6])
    alone = [collated([row]) for row in ROWS[:6]]
    padded = pair_scorer(small_lora(base.name).eval(), "padded")(batch)
    assert padded.shape == (2, 6)
    assert not padded.requires_grad
    for batching in BATCHINGS:
        score = pair_scorer(small_lora(base.name).eval(), batching)
        torch.testing.assert_close(score(batch), padded, rtol=1e-6, atol=1e-5)
        torch.testing.assert_close(torch.cat([score(one) for one in alone], 1), padded, rtol=1e-6, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "zero2"])
def test_two_ranks_train_as_with_padded_rows(base: BaseModelRef, tmp_path: Path, engine: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "llmops_assets_tests.training.speed.pairs_payload", engine, base.name, str(tmp_path)]
    done = subprocess.run(command, env=worker_environment(), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    logs = json.loads(done.stdout.strip().splitlines()[-1])
    for batching in ("padding_free", "prefix_sharing"):
        assert logs[batching]["engine"] == logs["padded"]["engine"]
        assert logs[batching]["losses"] == pytest.approx(logs["padded"]["losses"], rel=0, abs=5e-6)
        assert logs[batching]["grad_norms"] == pytest.approx(logs["padded"]["grad_norms"], rel=0, abs=1e-5)


def with_reference(base: BaseModelRef, batching: PairBatching, dtype: torch.dtype = torch.float32) -> list[dict]:
    score = pair_scorer(small_lora(base.name, dtype).eval(), batching)
    scores = torch.cat([score(collated(ROWS[start : start + 8])) for start in range(0, len(ROWS), 8)], dim=1)
    columns = zip(ROWS, scores[0].tolist(), scores[1].tolist(), strict=True)
    return [{**row, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected} for row, chosen, rejected in columns]


def trained(trainer: object) -> dict[str, Tensor]:
    model: torch.nn.Module = getattr(trainer, "model")  # noqa: B009
    return {name: p.detach().clone() for name, p in model.named_parameters() if ".default." in name}
