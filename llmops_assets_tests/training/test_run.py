"""Whole runs of the real worker: which engine trains, and whether the same job gives the same bytes."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from llmops_assets.training.digests import file_sha256
from llmops_assets.training.job import BaseModelRef, TrainingJob, TrainingResult
from llmops_assets.training.run import train

from .conftest import Files, make_job, run_to_result

Run = tuple[TrainingJob, TrainingResult]


def test_zero2_trains_with_deepspeeds_stage_2_optimizer(sft_zero2: Run) -> None:
    _, result = sft_zero2
    assert result.engine == "DeepSpeedZeroOptimizer"
    assert result.steps == 6
    assert result.tokens_seen > 0


def test_published_adapter_holds_lora_alone_under_names_that_servers_read(sft_zero2: Run) -> None:
    job, result = sft_zero2
    assert {path.name for path in job.output_dir.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "metrics.jsonl",
        "training_result.json",
    }
    assert file_sha256(job.output_dir / "adapter_model.safetensors") == result.adapter_sha256
    with safe_open(job.output_dir / "adapter_model.safetensors", "pt") as adapter:
        names = list(adapter.keys())
    assert len(names) == 2 * 7 * 2  # A and B of seven linear layers in two blocks
    assert all(name.endswith(("lora_A.weight", "lora_B.weight")) and ".default" not in name for name in names)


def test_adapter_config_names_no_folder_of_the_training_machine(sft_zero2: Run) -> None:
    job, _ = sft_zero2
    text = (job.output_dir / "adapter_config.json").read_text()
    assert str(Path(job.base_model.name).parent) not in text
    assert json.loads(text)["target_modules"] == sorted(job.spec.lora_targets)


def test_plain_and_zero1_give_the_adapter_bytes_of_zero2(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    _, zero2 = sft_zero2
    zero1 = run_to_result(make_job(tmp_path / "zero1", base, files.sft, {"stage": "sft", "backend": "zero1"}))
    plain = train(make_job(tmp_path / "plain", base, files.sft, {"stage": "sft", "backend": "plain"}))
    assert plain is not None and plain.engine == "PeftModelForCausalLM"
    assert plain.adapter_sha256 == zero1.adapter_sha256 == zero2.adapter_sha256


def test_two_runs_with_one_seed_give_one_adapter_and_another_seed_another(
    base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    def adapter(name: str, seed: int) -> str:
        spec = {"stage": "sft", "backend": "plain", "seed": seed, "max_steps": 3, "lora_dropout": 0.1}
        result = train(make_job(tmp_path / name, base, files.sft, spec))
        assert result is not None
        return result.adapter_sha256

    first = adapter("first", seed=7)
    assert adapter("elsewhere", seed=7) == first
    assert adapter("third", seed=8) != first


@pytest.mark.parametrize("precision", ["bf16"])
def test_bf16_run_publishes_the_float32_masters(
    base: BaseModelRef, files: Files, tmp_path: Path, precision: str
) -> None:
    job = make_job(tmp_path, base, files.sft, {"stage": "sft", "backend": "zero2", "precision": precision})
    run_to_result(job)
    with safe_open(job.output_dir / "adapter_model.safetensors", "pt") as adapter:
        tensors = [adapter.get_tensor(name) for name in adapter.keys()]  # noqa: SIM118
    assert {str(tensor.dtype) for tensor in tensors} == {"torch.float32"}
    assert any(bool((tensor != tensor.bfloat16().float()).any()) for tensor in tensors)


@pytest.mark.slow
def test_two_ranks_give_one_adapter_under_ddp_and_zero2(
    sft_two_ranks: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    _, zero2 = sft_two_ranks
    ddp = run_to_result(make_job(tmp_path, base, files.sft, {"stage": "sft", "backend": "ddp", "num_processes": 2}))
    assert ddp.environment["ranks"] == zero2.environment["ranks"] == 2
    assert ddp.adapter_sha256 == zero2.adapter_sha256


@pytest.mark.slow
def test_zero3_trains_and_gathers_the_whole_adapter(
    sft_zero2: Run, base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    job = make_job(tmp_path, base, files.sft, {"stage": "sft", "backend": "zero3", "num_processes": 1})
    assert run_to_result(job).engine == "DeepSpeedZeroOptimizer_Stage3"
    ours = load_file(job.output_dir / "adapter_model.safetensors")
    theirs = load_file(sft_zero2[0].output_dir / "adapter_model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-5, rtol=1e-3)
