"""Whole runs of stages beside plain SFT: every kind of chain, whole models, thumbs, and what each leaves behind."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel

from llmops_assets.training import kto
from llmops_assets.training.job import AdapterRef, BaseModelRef, TrainingJob, TrainingResult
from llmops_assets.training.model import load_tokenizer
from llmops_assets.training.policy import CannotStackQuantized, frozen_policy, stack_below, starting_policy
from llmops_assets.training.preparation.loading import load_rows
from llmops_assets.training.progress import METRICS_FILE, read_metrics
from llmops_assets.training.run import train

from .conftest import Files, adapter_ref, make_job, run_to_result, unprepared_job, write_jsonl

Run = tuple[TrainingJob, TrainingResult]
SFT = {"stage": "sft", "backend": "plain", "max_steps": 2}


def logits(base: BaseModelRef, ref: AdapterRef) -> torch.Tensor:
    with torch.no_grad():
        return frozen_policy(base, ref, "fp32")(input_ids=torch.arange(40, 60)[None]).logits


def result_ref(job: TrainingJob, result: TrainingResult) -> AdapterRef:
    return AdapterRef(
        path=job.output_dir,
        kind="lora" if job.spec.finetuning == "lora" else "full",
        sha256=result.adapter_sha256,
        base_digest=job.base_model.digest,
        merged=() if job.spec.finetuning == "full" else stack_below(job),
    )


def test_merge_then_new_starts_at_the_parent_and_needs_it_underneath(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    parent = adapter_ref(sft_zero2[0])
    settings = SFT | {"adapter_mode": "merge_then_new", "lora_r": 2, "lora_alpha": 4}
    job = make_job(tmp_path, base, files.sft, settings, parent)
    start = starting_policy(job)
    with torch.no_grad():
        started = start.eval()(input_ids=torch.arange(40, 60)[None]).logits
    torch.testing.assert_close(started, logits(base, parent), rtol=1e-4, atol=1e-4)
    result = train(job)
    assert result is not None
    ref = result_ref(job, result)
    assert [entry.sha256 for entry in ref.merged] == [parent.sha256]
    assert not torch.allclose(logits(base, ref), logits(base, ref.model_copy(update={"merged": ()})), atol=1e-3)


def test_merging_into_a_quantised_base_is_refused(sft_zero2: Run, base: BaseModelRef, tmp_path: Path) -> None:
    settings = SFT | {"adapter_mode": "merge_then_new", "quantization": "4bit", "precision": "bf16"}
    with pytest.raises(CannotStackQuantized, match="adapter_mode: continue"):
        starting_policy(unprepared_job(tmp_path, base, settings, adapter_ref(sft_zero2[0])))


@pytest.mark.parametrize("backend", ["plain", pytest.param("zero2", marks=pytest.mark.slow)])
def test_full_fine_tuning_moves_every_matrix_and_leaves_a_whole_model(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path, backend: str
) -> None:
    """It begins with its parent merged in, and its folder is a model that a next stage can build on."""
    parent = adapter_ref(sft_zero2[0])
    job = make_job(tmp_path / "full", base, files.sft, SFT | {"finetuning": "full", "backend": backend}, parent)
    before = {name: weights.clone() for name, weights in starting_policy(job).named_parameters()}
    result = train(job) if backend == "plain" else run_to_result(job)
    assert result is not None
    ref = result_ref(job, result)
    after = frozen_policy(base, ref, "fp32")
    assert not isinstance(after, PeftModel)
    moved = {name for name, weights in after.named_parameters() if not torch.equal(weights, before[name])}
    assert moved == set(before)
    assert (job.output_dir / "tokenizer.json").is_file()

    on_top = make_job(tmp_path / "on_top", base, files.sft, SFT, ref)
    assert [entry.kind for entry in stack_below(on_top)] == ["full"]
    lora = train(on_top)
    assert lora is not None
    assert not torch.allclose(logits(base, result_ref(on_top, lora)), logits(base, ref), atol=1e-6)


def test_full_fine_tuning_by_preferences_needs_no_second_model(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    settings = {"stage": "dpo", "backend": "plain", "max_steps": 2, "finetuning": "full", "learning_rate": 1e-4}
    result = train(make_job(tmp_path, base, files.dpo, settings, adapter_ref(sft_zero2[0])))
    assert result is not None and result.reference is not None
    assert float(result.reference["log_prob_difference_policy_to_reference"]) < 1e-3


@pytest.mark.parametrize("loss", ["ipo", "hinge", "apo_zero", "apo_down"])
def test_every_preference_loss_trains(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path, loss: str
) -> None:
    settings = {"stage": "dpo", "backend": "plain", "max_steps": 2, "loss_type": loss, "sft_weight": 0.1}
    result = train(make_job(tmp_path, base, files.dpo, settings, adapter_ref(sft_zero2[0])))
    assert result is not None
    assert result.adapter_sha256 != sft_zero2[1].adapter_sha256


def test_thumbs_move_the_policy_towards_what_they_approve(sft_zero2: Run, base: BaseModelRef, tmp_path: Path) -> None:
    thumbs = [
        {
            "prompt": [{"role": "user", "content": f"What does item {index} do?"}],
            "completion": "Return the list." if index % 2 else "Close the queue.",
            "label": bool(index % 2),
        }
        for index in range(16)
    ]
    parent = adapter_ref(sft_zero2[0])
    settings = {"stage": "kto", "backend": "plain", "max_steps": 12, "learning_rate": 5e-3, "batch_size": 8}
    file = write_jsonl(tmp_path / "thumbs.jsonl", thumbs)
    result = train(make_job(tmp_path, base, file, settings, parent))
    assert result is not None
    assert result.metrics["rewards/chosen"] > result.metrics["rewards/rejected"]
    assert result.tokens_seen > 12 * 8

    whole = make_job(tmp_path / "whole", base, file, settings | {"finetuning": "full", "learning_rate": 1e-4}, parent)
    rows = load_rows(whole)
    tokenizer = load_tokenizer(base)
    trainer = kto.build_trainer(starting_policy(whole), tokenizer, rows, kto.training_arguments(whole, rows))
    assert isinstance(trainer.ref_model, torch.nn.Module)
    with torch.no_grad():
        reference = trainer.ref_model(input_ids=torch.arange(40, 60)[None]).logits
    torch.testing.assert_close(reference, logits(base, parent), rtol=1e-4, atol=1e-4)
    full = train(whole)
    assert full is not None and full.metrics["rewards/chosen"] > full.metrics["rewards/rejected"]


def test_constant_schedule_warms_up_first(base: BaseModelRef, files: Files, tmp_path: Path) -> None:
    settings = SFT | {"lr_scheduler": "constant", "warmup_steps": 2, "max_steps": 4, "logging_steps": 1}
    job = make_job(tmp_path, base, files.sft, settings | {"learning_rate": 1e-3})
    assert train(job) is not None
    rates = [row["learning_rate"] for row in read_metrics(job.output_dir / METRICS_FILE)]
    assert rates == pytest.approx([0, 5e-4, 1e-3, 1e-3])


def test_input_that_is_prefetched_gives_the_same_adapter(base: BaseModelRef, files: Files, tmp_path: Path) -> None:
    settings = SFT | {"max_steps": None, "epochs": 1.5, "gradient_accumulation": 2, "lora_dropout": 0.1}
    adapters = []
    for prefetch in ("off", "on"):
        result = train(make_job(tmp_path / prefetch, base, files.sft, settings | {"prefetch": prefetch}))
        assert result is not None
        adapters.append(result.adapter_sha256)
    assert adapters[0] == adapters[1]


def test_epochs_end_a_run_where_the_rows_do(base: BaseModelRef, files: Files, tmp_path: Path) -> None:
    settings = {"stage": "sft", "backend": "plain", "max_steps": None, "epochs": 0.5, "batch_size": 8}
    result = train(make_job(tmp_path, base, files.sft, settings))
    assert result is not None
    assert result.steps == 3  # half of 48 rows, 8 a step


@pytest.mark.parametrize("batching", ["padding_free", "packed"])
def test_rows_without_padding_give_the_losses_of_padded_ones(
    base: BaseModelRef, files: Files, tmp_path: Path, batching: str
) -> None:
    """One step of all rows at once, so that packing cannot move a row to another step."""

    def losses(name: str) -> tuple[float, float]:
        settings = {"stage": "sft", "backend": "plain", "max_steps": 1, "logging_steps": 1, "batching": name}
        settings |= {"batch_size": 48, "max_length": 64}
        result = train(make_job(tmp_path / name, base, files.sft, settings))
        assert result is not None
        return result.metrics["loss"], result.metrics["grad_norm"]

    assert losses(batching) == pytest.approx(losses("padded"), rel=2e-5)
