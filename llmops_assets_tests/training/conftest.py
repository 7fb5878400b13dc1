"""A tiny real Qwen2 model with its tokenizer, data for each stage, and a way to run the real worker process."""

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from llmops_assets.training.digests import file_sha256, weights_digest
from llmops_assets.training.job import AdapterRef, BaseModelRef, TrainingJob, TrainingResult
from llmops_assets.training.preparation.job import PreparationJob, PreparationSpec
from llmops_assets.training.preparation.prepare import prepare
from llmops_assets.training.reference.job import ReferenceJob, ReferenceSpec
from llmops_assets.training.reference.log_probs import take_log_probs
from llmops_assets.training.specs import AnyStageSpec, DpoSpec, StageSpec

REPOSITORY = Path(__file__).parents[2]
CHATML = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' -%}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{%- else -%}{{ message['content'] + '<|im_end|>\\n' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)
WORDS = ["list", "file", "path", "copy", "read", "write", "open", "close", "sort", "text", "byte", "line", "queue"]


def sentence(index: int) -> str:
    """A deterministic sentence; neighbours differ in length and words."""
    chosen = [WORDS[(index * 7 + step * (index % 5 + 1)) % len(WORDS)] for step in range(4 + index % 9)]
    return f"Return the {' '.join(chosen)} of item {index}."


def make_base(folder: Path, seed: int) -> BaseModelRef:
    """Write a random two-layer Qwen2 with a byte-level tokenizer to `folder`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((sentence(index) for index in range(60)), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML
    )
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(fast),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=specials.index("<|endoftext|>"),
        eos_token_id=specials.index("<|im_end|>"),
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return BaseModelRef(name=str(folder), digest=weights_digest(folder))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModelRef:
    return make_base(tmp_path_factory.mktemp("base"), seed=1)


@dataclass(frozen=True)
class Files:
    """One training file per stage."""

    cpt: Path
    sft: Path
    dpo: Path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("data")
    documents = [{"text": " ".join(sentence(index * 3 + step) for step in range(1 + index % 7))} for index in range(40)]
    chats = [
        {
            "messages": [
                {"role": "user", "content": f"What does item {index} do?"},
                {"role": "assistant", "content": sentence(index)},
            ]
        }
        for index in range(48)
    ]
    pairs = [
        {
            "prompt": [{"role": "user", "content": f"What does item {index} do?"}],
            "chosen": [{"role": "assistant", "content": sentence(index)}],
            "rejected": [{"role": "assistant", "content": sentence(index + 5)}],
        }
        for index in range(24)
    ]
    return Files(
        cpt=write_jsonl(folder / "cpt.jsonl", documents),
        sft=write_jsonl(folder / "sft.jsonl", chats),
        dpo=write_jsonl(folder / "dpo.jsonl", pairs),
    )


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def deepspeed_config(backend: str) -> dict[str, Any] | None:
    """The configuration that ships with the project, as the Dagster layer puts it into a job."""
    if not backend.startswith("zero"):
        return None
    return json.loads((REPOSITORY / "configs" / "deepspeed" / f"{backend}.json").read_text(encoding="utf-8"))


def make_job(
    folder: Path,
    base: BaseModelRef,
    set_file: Path,
    spec: dict[str, Any],
    parent: AdapterRef | None = None,
    reference: AdapterRef | None = None,
) -> TrainingJob:
    """A job with small defaults, which `spec` overrides, on rows that are prepared now.

    A DPO job gets the log-probs of `reference`, of its parent without one.
    """
    job = unprepared_job(folder, base, spec, parent)
    prepared(job.rows, base, set_file, job.spec)
    policy = reference or parent
    if not isinstance(job.spec, DpoSpec) or policy is None:
        return job
    log_probs = folder / "reference"
    take_log_probs(
        ReferenceJob(
            asset="reference_log_probs",
            spec=ReferenceSpec.of(job.spec),
            base_model=base,
            reference=policy,
            rows=job.rows,
            output_dir=log_probs,
        )
    )
    return job.model_copy(update={"reference_log_probs": log_probs})


def unprepared_job(
    folder: Path, base: BaseModelRef, spec: dict[str, Any], parent: AdapterRef | None = None
) -> TrainingJob:
    """The same job without its rows, for what happens before they are read."""
    defaults = {
        "max_steps": 6,
        "learning_rate": 2e-3,
        # Below this norm nothing is clipped: DeepSpeed and torch scale clipped gradients in another order.
        "max_grad_norm": 1000.0,
        "batch_size": 4,
        "max_length": 128,
        "lora_r": 4,
        "lora_alpha": 8,
        "precision": "fp32",
        "num_threads": 1,
        "logging_steps": 2,
        "checkpoint_every": 100,
    }
    if spec.get("finetuning") == "full":
        defaults = {key: value for key, value in defaults.items() if not key.startswith("lora_")}
    merged = TypeAdapter(AnyStageSpec).validate_python(defaults | spec)
    return TrainingJob(
        recipe="tiny",
        asset=f"{merged.stage}_adapter",
        fingerprint=f"{merged.stage}-{merged.seed}",
        spec=merged,
        base_model=base,
        parent=parent,
        rows=folder / "rows",
        inputs={"rows": "test"},
        deepspeed_config=deepspeed_config(merged.backend),
        output_dir=folder / "output",
        checkpoint_dir=folder / "checkpoints",
    )


def prepared(folder: Path, base: BaseModelRef, set_file: Path, spec: StageSpec) -> Path:
    """Rows of a stage with `spec`, in `folder`."""
    prepare(
        PreparationJob(
            asset="rows", spec=PreparationSpec.of(spec), base_model=base, set_file=set_file, output_dir=folder
        )
    )
    return folder


def worker_command(job: TrainingJob) -> list[str]:
    """The command that the Dagster layer runs, with the job file written beside the checkpoints."""
    job_file = job.checkpoint_dir.parent / "job.json"
    job_file.parent.mkdir(parents=True, exist_ok=True)
    job_file.write_text(job.model_dump_json())
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(job.spec.num_processes)]
    torchrun += ["--log_dir", str(job_file.parent / "torchrun")]
    return [sys.executable, *torchrun, "-m", "llmops_assets.training.worker", str(job_file)]


def worker_environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(REPOSITORY)}


def run_worker(job: TrainingJob, *, largest_file: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the worker to its end; one that hangs is killed with its ranks.

    With `largest_file`, no file may grow beyond so many bytes: to a writer that is like a full disk.
    """
    command = worker_command(job)
    limit = None if largest_file is None else (largest_file, largest_file)
    with subprocess.Popen(
        command,
        env=worker_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    ) as process:
        try:
            output, errors = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def run_to_result(job: TrainingJob) -> TrainingResult:
    """Run the worker, insist on success, and return its result."""
    done = run_worker(job)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    return TrainingResult.model_validate_json((job.output_dir / "training_result.json").read_text(encoding="utf-8"))


def adapter_ref(job: TrainingJob) -> AdapterRef:
    weights = job.output_dir / "adapter_model.safetensors"
    return AdapterRef(path=job.output_dir, sha256=file_sha256(weights), base_digest=job.base_model.digest)


@pytest.fixture(scope="session")
def sft_zero2(
    tmp_path_factory: pytest.TempPathFactory, base: BaseModelRef, files: Files
) -> tuple[TrainingJob, TrainingResult]:
    """An SFT adapter trained once per session under ZeRO-2; others are compared with it or continue it."""
    job = make_job(tmp_path_factory.mktemp("sft_zero2"), base, files.sft, {"stage": "sft", "backend": "zero2"})
    return job, run_to_result(job)


@pytest.fixture(scope="session")
def sft_two_ranks(
    tmp_path_factory: pytest.TempPathFactory, base: BaseModelRef, files: Files
) -> tuple[TrainingJob, TrainingResult]:
    """The same on two ranks, with checkpoints at the steps 2 and 4 of 6."""
    spec = {"stage": "sft", "backend": "zero2", "num_processes": 2, "checkpoint_every": 2}
    job = make_job(tmp_path_factory.mktemp("sft_two_ranks"), base, files.sft, spec)
    return job, run_to_result(job)
