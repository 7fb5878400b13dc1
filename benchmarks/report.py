"""Markdown tables of what was measured, with ratios to this project's figures, and the machine it was measured on."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.clocked import Measured, medians

OURS = "ours"
_DIGITS = 4


def stage_table(titles: Mapping[str, str], runs: Mapping[tuple[str, int], Sequence[Measured]], tokens: float) -> str:
    """Return one stage's table: a row per subject, and for each number of threads its cost per step.

    `runs` is keyed by subject and threads; `tokens` are those of a step, without padding.
    """
    threads = sorted({count for _, count in runs})
    headings = ["subject"]
    for count in threads:
        suffix = f"{count} thread" + ("s" if count > 1 else "")
        headings += [f"CPU-s / step, {suffix}", "ratio", "tokens / CPU-s", "wall s / step", "peak RSS MiB"]
    lines = [row(headings), row(["---"] + ["---:"] * (len(headings) - 1))]
    for subject, title in titles.items():
        cells = [title]
        for count in threads:
            cells += _cells(runs, subject, count, tokens)
        lines.append(row(cells))
    return "\n".join(lines)


def loss_table(titles: Mapping[str, str], losses: Mapping[str, Sequence[float]]) -> str:
    """Return the losses of all subjects step by step, to four digits, and below each how far it is from ours."""
    steps = max(map(len, losses.values()))
    shown = [step for step in range(1, steps + 1) if step <= 5 or step % 5 == 0 or step == steps]
    lines = [row(["subject", *(f"step {step}" for step in shown), "largest difference"])]
    lines.append(row(["---"] + ["---:"] * (len(shown) + 1)))
    for subject, title in titles.items():
        if subject not in losses:
            continue
        curve = losses[subject]
        cells = [f"{curve[step - 1]:.{_DIGITS}f}" if step <= len(curve) else "" for step in shown]
        lines.append(row([title, *cells, _difference(curve, losses.get(OURS))]))
    return "\n".join(lines)


def _cells(runs: Mapping[tuple[str, int], Sequence[Measured]], subject: str, threads: int, tokens: float) -> list[str]:
    if not runs.get((subject, threads)):
        return ["", "", "", "", ""]
    figures = medians(list(runs[subject, threads]))
    ours = runs.get((OURS, threads))
    ratio = f"{figures.cpu_seconds / medians(list(ours)).cpu_seconds:.2f}" if ours else ""
    return [
        f"{figures.cpu_seconds:.2f}",
        ratio,
        f"{tokens / figures.cpu_seconds:,.0f}",
        f"{figures.wall_seconds:.2f}",
        f"{figures.peak_memory_mib:,.0f}",
    ]


def _difference(curve: Sequence[float], ours: Sequence[float] | None) -> str:
    if ours is None:
        return ""
    return f"{max(abs(one - other) for one, other in zip(curve, ours, strict=False)):.1e}"


def row(cells: Sequence[str]) -> str:
    """Return one line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def machine() -> dict[str, str | int]:
    """Return processor, cores that this process may use, system and Python; no name of the machine."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "platform": f"{platform.system()}, Python {platform.python_version()}",
    }
