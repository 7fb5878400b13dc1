"""`python -m llmops_assets.evaluation.sampling job.json`: two sampled answers to every prompt, for a rater."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmops_assets.evaluation.inputs import SamplingPrompt, as_chat, read_rows
from llmops_assets.evaluation.job import SamplingJob, read_job, write_result
from llmops_assets.evaluation.process import run_process

if TYPE_CHECKING:
    from llmops_assets.evaluation.generation import Answer


def main(arguments: Sequence[str]) -> int:
    """Read the job file named by the only argument, sample, and write the rows atomically."""
    return run_process("llmops_assets.evaluation.sampling", arguments, _sample)


def _sample(job_file: Path) -> None:
    job = read_job(job_file, SamplingJob)
    prompts = read_rows(job.prompts_file, SamplingPrompt)
    from llmops_assets.evaluation.model import load_policy
    from llmops_assets.evaluation.nucleus import sample_pairs

    policy = load_policy(job.base_model, job.adapter)
    started = time.perf_counter()
    pairs = sample_pairs(policy, prompts, job)
    rows = [
        {"id": prompt.id, "prompt": as_chat(prompt.messages), "left": _as_row(left), "right": _as_row(right)}
        for prompt, (left, right) in zip(prompts, pairs, strict=True)
    ]
    write_result(job.output_file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"sampled {len(prompts)} prompts twice in {time.perf_counter() - started:.1f} s", flush=True)


def _as_row(answer: "Answer") -> dict[str, str | int]:
    return {"text": answer.text, "finish": "stop" if answer.finished else "length", "tokens": answer.tokens}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
