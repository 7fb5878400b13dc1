"""CPU-seconds per optimizer step and peak memory of this project and its peers, on the same rows, step by step.

    .venv/bin/python -m benchmarks.training_cpu                     # all: about two hours on two cores
    .venv/bin/python -m benchmarks.training_cpu --stages sft --threads 1 --repetitions 1 --subjects ours,bare

Cost is read inside each training process, between the end of step 5 and the end of the last step, so start-up is no
part of it. Subjects take turns within a repetition; tables hold the median. Prints Markdown, and writes it with all
figures under the state folder.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.clocked import Measured, child_cpu_seconds, run_clocked
from benchmarks.options import names_of, numbers
from benchmarks.peers.environments import peer_environment
from benchmarks.report import OURS, loss_table, machine, stage_table
from benchmarks.subjects import SUBJECTS
from benchmarks.workload import STAGES, Sizes, Stage, Workload, base_ref, make_workload
from llmops_assets.errors import LlmopsError
from llmops_assets.settings import state_dir

Runs = dict[tuple[str, int], list[Measured]]


def main(arguments: Sequence[str]) -> int:
    """Measure what the command line asks for and return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a running subject is ended too
    options = _options(arguments)
    root = state_dir() / "benchmarks" / "training_cpu"
    try:
        for name in sorted({env for s in options.subjects if (env := SUBJECTS[s].environment) is not None}):
            peer_environment(name)
        sizes = Sizes(steps=options.steps)
        workload = make_workload(root / f"workload-{options.steps}", sizes)
        report = [_headline(workload)]
        results: dict[str, object] = {"sizes": asdict(sizes), "machine": machine(), "facts": workload.facts}
        if "dpo" in options.stages and OURS in options.subjects:
            results["reference_cpu_seconds"] = seconds = _take_reference(workload, max(options.threads))
            pairs = sizes.rows
            report.append(
                f"Reference log-probs, taken once before DPO: {seconds:.1f} CPU-s for {pairs} pairs, "
                f"{seconds * sizes.batch / pairs:.2f} per step's pairs, start of the process included.\n"
            )
        for stage in options.stages:
            runs = _measure(workload, stage, options, root)
            titles = {name: SUBJECTS[name].title for name in options.subjects if any(name == key[0] for key in runs)}
            report.append(_stage_report(workload, stage, titles, runs))
            results[stage] = {
                f"{name}, {threads} threads": [asdict(run) for run in taken] for (name, threads), taken in runs.items()
            }
            _write(root, report, results)
    except LlmopsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(report))
    print(f"\nwritten to {root / 'report.md'} and {root / 'report.json'}")
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_cpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--subjects", type=names_of(SUBJECTS), default=list(SUBJECTS), metavar=",".join(SUBJECTS))
    parser.add_argument("--stages", type=names_of(STAGES), default=list(STAGES), metavar=",".join(STAGES))
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--steps", type=int, default=25, help="optimizer steps per run; those after 5 are measured")
    return parser.parse_args(arguments)


def _measure(workload: Workload, stage: Stage, options: argparse.Namespace, root: Path) -> Runs:
    runs: Runs = defaultdict(list)
    for repetition in range(options.repetitions):
        for threads in options.threads:
            for name in options.subjects:
                subject = SUBJECTS[name]
                if stage not in subject.stages:
                    continue
                folder = root / "runs" / f"{stage}-{name}-{threads}-{repetition}"
                _forget(folder)
                run = run_clocked(
                    subject.command(workload, stage, folder, threads), folder, threads, workload.sizes.steps
                )
                runs[name, threads].append(run)
                print(
                    f"{time.strftime('%H:%M:%S')} {stage} {name}, {threads} thread(s), run {repetition + 1}: "
                    f"{run.cpu_seconds:.2f} CPU-s/step, {run.wall_seconds:.2f} s/step, {run.peak_memory_mib:,.0f} MiB, "
                    f"loss {run.losses[0]:.4f} -> {run.losses[-1]:.4f}",
                    file=sys.stderr,
                    flush=True,
                )
    return runs


def _forget(folder: Path) -> None:
    """Remove what an earlier run left: a subject that finds a checkpoint would resume from it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _take_reference(workload: Workload, threads: int) -> float:
    """Take the reference's log-probs for our DPO runs, as the asset before them does; return its CPU seconds."""
    from llmops_assets.training.digests import file_sha256
    from llmops_assets.training.job import AdapterRef
    from llmops_assets.training.reference.job import ReferenceJob, ReferenceSpec

    base = base_ref(workload)
    folder = workload.folder / "dpo" / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    adapter = AdapterRef(
        path=workload.adapter,
        sha256=file_sha256(workload.adapter / "adapter_model.safetensors"),
        base_digest=base.digest,
    )
    job = ReferenceJob(
        asset="reference_log_probs",
        spec=ReferenceSpec(
            precision="fp32", quantization="none", batching="prefix_sharing", batch_size=workload.sizes.batch
        ),
        base_model=base,
        reference=adapter,
        rows=workload.rows("dpo"),
        output_dir=folder,
    )
    file = folder / "job.json"
    file.write_text(job.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", "llmops_assets.training.reference.worker", str(file)]
    variables = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    return child_cpu_seconds(command, variables, folder / "output.log")


def _stage_report(workload: Workload, stage: Stage, titles: dict[str, str], runs: Runs) -> str:
    facts = workload.facts[stage]
    fewest = min(threads for _, threads in runs)
    losses = {name: taken[0].losses for (name, threads), taken in runs.items() if threads == fewest}
    how = [f"- {titles[name]}: {_settings(runs[name, fewest][0])}" for name in titles]
    return "\n".join(
        [
            f"\n## {stage.upper()}\n",
            f"{facts['tokens_per_step']:,.0f} tokens per step without padding; rows of {facts['mean_length']:.0f} "
            f"tokens on average, the longest {facts['longest']:.0f}. In padded batches of {workload.sizes.batch}, "
            f"padding is {facts['padding_share']:.0%} of what goes through the model.\n",
            stage_table(titles, runs, facts["tokens_per_step"]),
            "",
            loss_table(titles, losses),
            "",
            *how,
        ]
    )


def _settings(run: Measured) -> str:
    checkpointing = "on" if run.activation_checkpointing else "off"
    return f"{run.optimizer}, activation checkpointing {checkpointing}, {run.threads} thread(s)"


def _headline(workload: Workload) -> str:
    sizes = workload.sizes
    here = machine()
    return (
        f"Qwen2, hidden {sizes.hidden}, {sizes.layers} layers, intermediate {sizes.intermediate}, vocabulary "
        f"{sizes.vocabulary}, random weights; LoRA r {sizes.lora_r} on all linear layers; batch {sizes.batch}, context "
        f"{sizes.length}, {sizes.steps} steps, float32. {here['processor']}, {here['cores']} cores, "
        f"{here['platform']}.\n"
    )


def _write(root: Path, report: list[str], results: dict[str, object]) -> None:
    (root / "report.md").write_text("\n".join(report) + "\n", encoding="utf-8")
    (root / "report.json").write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
