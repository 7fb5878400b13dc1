"""What Dagster adds to a training: seconds until its first optimizer step, seconds per step, and the whole run.

    .venv/bin/python -m benchmarks.orchestration --repetitions 5     # about a quarter of an hour on two quiet cores
    .venv/bin/python -m benchmarks.orchestration --repetitions 1 --ways bare,materialize

One SFT stage of a real lane is trained from the start, on rows that were prepared before, in each of the ways in turn:
by the worker command alone, and by Dagster. Nothing is reused; the ways must agree on every loss. `dagster dev` runs
for those ways alone that need it. Prints Markdown, and writes it with all figures under the state folder.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import dagster as dg

from benchmarks.lane import Lane, dagster_dev, lane, make_upstream
from benchmarks.options import names_of
from benchmarks.report import machine, row
from benchmarks.timeline import PARTS, Timeline, TrainingFailed, figures, parts
from benchmarks.trainings import BARE, WAYS, Trainings
from benchmarks.workload import Sizes, Workload, make_workload
from llmops_assets.errors import LlmopsError
from llmops_assets.settings import state_dir

Runs = dict[str, list[Timeline]]
_SAME_LOSS = 1e-4


def main(arguments: Sequence[str]) -> int:
    """Measure what the command line asks for and return the exit code."""
    # Whatever ends the benchmark ends what it started; `&` in a script leaves SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    options = _options(arguments)
    root = state_dir() / "benchmarks" / "orchestration"
    try:
        workload = make_workload(root / f"workload-{options.steps}", Sizes(steps=options.steps))
        with lane(root, workload) as made:
            _say("making the set and the rows")
            make_upstream(made)
            runs = _measure(made, workload, options)
    except KeyboardInterrupt:
        _say("stopped")
        return 130
    except LlmopsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(_report(workload, runs))
    print(f"\nwritten to {root / 'report.md'} and {root / 'report.json'}")
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orchestration", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps per run; those after 5 are measured")
    parser.add_argument("--ways", type=_ways, default=list(WAYS), metavar=",".join(WAYS), help="the bare worker is one")
    return parser.parse_args(arguments)


def _ways(text: str) -> list[str]:
    return list(dict.fromkeys([BARE, *names_of(WAYS)(text)]))


def _measure(made: Lane, workload: Workload, options: argparse.Namespace) -> Runs:
    """Train in every way, `options.repetitions` times in turn; the report is written after each run.

    Raises LaneFailed and TrainingFailed.
    """
    runs: Runs = defaultdict(list)
    alone, served = ([name for name in options.ways if WAYS[name].served is needed] for needed in (False, True))
    with dg.DagsterInstance.get() as instance:
        trainings = Trainings(made, instance, workload.sizes.steps)
        _say("warming up")
        trainings.warm_up()
        for repetition in range(1, options.repetitions + 1):
            for names, servers in ((alone, nullcontext()), (served, dagster_dev(made))):
                if not names:
                    continue
                with servers as url:
                    for name in names:
                        load = os.getloadavg()[0]
                        run = WAYS[name].train(trainings, url)
                        runs[name].append(run)
                        _require_same_work(runs, name)
                        _say(
                            f"{name}, run {repetition}: first step after {run.first_step:.1f} s and "
                            f"{run.first_step_cpu_seconds:.1f} CPU-s, {run.step_seconds:.2f} s/step, "
                            f"{run.step_cpu_seconds:.2f} CPU-s/step, ended after {run.ended:.1f} s; load before it "
                            f"{load:.1f}"
                        )
                        _write(made.root, workload, runs)
    return runs


def _require_same_work(runs: Runs, name: str) -> None:
    """Raises TrainingFailed if the losses of the newest run of `name` are not those of the first bare run.

    To four digits: sums of several threads are rounded in another way from one process to the next.
    """
    expected, found = runs[BARE][0].losses, runs[name][-1].losses
    differ = any(abs(one - other) > _SAME_LOSS for one, other in zip(expected, found, strict=False))
    if differ or len(expected) != len(found):
        raise TrainingFailed(f"{name}: its losses {found} differ from the bare worker's, {expected}: not the same work")


def _report(workload: Workload, runs: Mapping[str, list[Timeline]]) -> str:
    sections = [_headline(workload, runs), _until_first_step(runs), "Its parts, in seconds:", _parts(runs)]
    return "\n\n".join([*sections, "Steps after the fifth, and the whole run:", _whole(runs)])


def _until_first_step(runs: Mapping[str, list[Timeline]]) -> str:
    """The table of the time until the first step: medians, and how they compare with the bare worker's."""
    lines = _head(["way", "s to first step", "range", "ratio", "more, s", "CPU-s", "ratio"])
    bare = figures(runs[BARE])
    for name, taken in runs.items():
        own, each = figures(taken), [run.first_step for run in taken]
        first = own["first_step"]
        cells = [WAYS[name].title, f"{first:.1f}", f"{min(each):.1f} to {max(each):.1f}"]
        cells += [f"{first / bare['first_step']:.2f}", f"{first - bare['first_step']:+.1f}"]
        lines.append(row(cells + _with_ratio(own, bare, "first_step_cpu_seconds", 1)))
    return "\n".join(lines)


def _whole(runs: Mapping[str, list[Timeline]]) -> str:
    """The table of steps and whole runs: medians, and how they compare with the bare worker's."""
    lines = _head(["way", "s / step", "ratio", "CPU-s / step", "ratio", "s whole run", "ratio"])
    bare = figures(runs[BARE])
    for name, taken in runs.items():
        cells = [WAYS[name].title]
        for key, digits in (("step_seconds", 3), ("step_cpu_seconds", 3), ("ended", 1)):
            cells += _with_ratio(figures(taken), bare, key, digits)
        lines.append(row(cells))
    return "\n".join(lines)


def _parts(runs: Mapping[str, list[Timeline]]) -> str:
    """The table of what happens before the first step: a row per part, a column per way, medians."""
    lines = _head(["part", *(WAYS[name].title for name in runs)])
    columns = {name: parts(taken) for name, taken in runs.items()}
    for key, title in PARTS.items():
        cells = (columns[name].get(key) for name in runs)
        lines.append(row([title, *("" if cell is None else f"{cell:.1f}" for cell in cells)]))
    return "\n".join(lines)


def _head(headings: list[str]) -> list[str]:
    return [row(headings), row(["---"] + ["---:"] * (len(headings) - 1))]


def _with_ratio(own: Mapping[str, float], bare: Mapping[str, float], key: str, digits: int) -> list[str]:
    return [f"{own[key]:.{digits}f}", f"{own[key] / bare[key]:.2f}"]


def _headline(workload: Workload, runs: Mapping[str, list[Timeline]]) -> str:
    sizes, here = workload.sizes, machine()
    return (
        f"SFT, {sizes.steps} steps; Qwen2, hidden {sizes.hidden}, {sizes.layers} layers, intermediate "
        f"{sizes.intermediate}, vocabulary {sizes.vocabulary}, random weights; LoRA r {sizes.lora_r} on all linear "
        f"layers; batch {sizes.batch}, context {sizes.length}, float32. Medians of {len(runs[BARE])} runs. "
        f"{here['processor']}, {here['cores']} cores, {here['platform']}, Dagster {dg.__version__}."
    )


def _write(root: Path, workload: Workload, runs: Runs) -> None:
    taken = {name: [asdict(run) for run in timelines] for name, timelines in runs.items()}
    results = {"sizes": asdict(workload.sizes), "machine": machine(), "runs": taken}
    (root / "report.md").write_text(_report(workload, runs) + "\n", encoding="utf-8")
    (root / "report.json").write_text(json.dumps(results, indent=2), encoding="utf-8")


def _say(sentence: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
