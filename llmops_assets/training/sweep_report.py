"""What a sweep found: its points as a table and a picture, the best of them, and the recipe lines that keep it."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from llmops_assets.training.sweep_points import SweepSpec, point_name

Status = Literal["done", "out of date", "failed", "canceled", "running", "queued", "not run"]

_MISSING = "-"
_HEADINGS = {
    "loss": "final loss",
    "eval_loss": "eval loss",
    "tokens_per_second": "tokens/s",
    "train_seconds": "seconds",
}


@dataclass(frozen=True)
class PointOutcome:
    """One point of a sweep and what has become of it.

    Attributes:
        figures: Those of its training, by metric name.
        tracked_run: Id of the MLflow run of its training, if it has one.
    """

    name: str
    settings: Mapping[str, Any]
    status: Status
    figures: Mapping[str, float] = field(default_factory=dict)
    detail: str = ""
    tracked_run: str | None = None


def best_point(sweep: SweepSpec, outcomes: Sequence[PointOutcome]) -> PointOutcome | None:
    """Return the finished point with the best `metric`, the earlier one of equals; None if no point has it."""
    ranked = [outcome for outcome in outcomes if outcome.status == "done" and sweep.metric in outcome.figures]
    sign = 1 if sweep.best == "min" else -1
    return min(ranked, key=lambda outcome: sign * outcome.figures[sweep.metric], default=None)


def table_rows(sweep: SweepSpec, outcomes: Sequence[PointOutcome]) -> list[dict[str, str | float | int | bool | None]]:
    """Return one row per point, best first, then unfinished ones in their own order; a missing figure is None."""
    best = best_point(sweep, outcomes)
    columns = dict.fromkeys([sweep.metric, *_HEADINGS])
    rows: list[dict[str, str | float | int | bool | None]] = []
    for outcome in _ranked(sweep, outcomes):
        row: dict[str, str | float | int | bool | None] = {"point": outcome.name}
        row |= {key: _plain(outcome.settings.get(key)) for key in sweep.keys}
        row |= {_HEADINGS.get(name, name): outcome.figures.get(name) for name in columns}
        rows.append(row | {"status": outcome.status, "best": outcome is best, "detail": outcome.detail})
    return rows


def report_markdown(name: str, sweep: SweepSpec, outcomes: Sequence[PointOutcome]) -> str:
    """Return the table, the best point by the sweep's metric and the lines that bring its settings into the recipe."""
    rows = table_rows(sweep, outcomes)
    columns = [column for column in rows[0] if column not in ("best", "detail")]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        cells = [_cell(row[column]) for column in columns]
        lines.append("| " + " | ".join(f"**{cell}**" if row["best"] else cell for cell in cells) + " |")
    lines += ["", headline(name, sweep, outcomes)]
    best = best_point(sweep, outcomes)
    if best is not None:
        lines += ["", f"To train with it, set in section `{sweep.stage}` of the recipe:", ""]
        lines += ["```yaml", *recipe_lines(sweep, best), "```"]
    told = [f"- `{outcome.name}` {outcome.status}: {outcome.detail}" for outcome in outcomes if outcome.detail]
    return "\n".join([*lines, *(["", *told] if told else [])])


def headline(name: str, sweep: SweepSpec, outcomes: Sequence[PointOutcome]) -> str:
    """Return one sentence: how many points are done, and which is the best."""
    done = sum(outcome.status == "done" for outcome in outcomes)
    counted = f"{name}: {done} of {len(outcomes)} points are done"
    best = best_point(sweep, outcomes)
    if best is None:
        known = sorted({figure for outcome in outcomes if outcome.status == "done" for figure in outcome.figures})
        reported = f"; they report {', '.join(known)}" if known else ""
        return f"{counted}, and none of them has the figure {sweep.metric}{reported}." if done else f"{counted}."
    extreme = "lowest" if sweep.best == "min" else "highest"
    return f"{counted}; {best.name} has the {extreme} {sweep.metric}, {best.figures[sweep.metric]:.4g}."


def recipe_lines(sweep: SweepSpec, best: PointOutcome) -> list[str]:
    """Return the YAML lines of the best point's settings, to paste into the recipe."""
    return [f"{sweep.stage}:", *(f"  {key}: {_yaml(value)}" for key, value in best.settings.items())]


def sweep_plot_png(name: str, sweep: SweepSpec, outcomes: Sequence[PointOutcome]) -> bytes | None:
    """Draw `metric` of the finished points and return PNG bytes; None if no point has it.

    The first swept key with numbers is the horizontal axis, logarithmic if its values span a factor of ten, with one
    line for each combination of the other keys; without such a key every point is a bar. The best point is a star.
    """
    best = best_point(sweep, outcomes)
    if best is None:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = [outcome for outcome in outcomes if outcome.status == "done" and sweep.metric in outcome.figures]
    key = next((key for key in sweep.keys if all(_is_number(outcome.settings.get(key)) for outcome in shown)), None)
    if key is None:
        axes.barh([outcome.name for outcome in shown], [outcome.figures[sweep.metric] for outcome in shown])
        axes.plot(best.figures[sweep.metric], best.name, "*", color="tab:orange", markersize=14)
        axes.set(title=name, xlabel=sweep.metric)
    else:
        _draw_lines(axes, key, sweep.metric, shown)
        axes.plot(best.settings[key], best.figures[sweep.metric], "*", color="tab:orange", markersize=14)
        axes.set(title=name, xlabel=key, ylabel=sweep.metric)
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_lines(axes: Any, key: str, metric: str, outcomes: Sequence[PointOutcome]) -> None:
    lines: dict[str, list[tuple[float, float]]] = {}
    for outcome in outcomes:
        others = point_name({other: value for other, value in outcome.settings.items() if other != key})
        lines.setdefault(others, []).append((outcome.settings[key], outcome.figures[metric]))
    for others, values in lines.items():
        horizontal, vertical = zip(*sorted(values), strict=True)
        axes.plot(horizontal, vertical, marker="o", markersize=4, label=others)
    if len(lines) > 1:
        axes.legend(fontsize="small")
    values = [outcome.settings[key] for outcome in outcomes]
    if min(values) > 0 and max(values) >= 10 * min(values):
        axes.set_xscale("log")


def _ranked(sweep: SweepSpec, outcomes: Sequence[PointOutcome]) -> list[PointOutcome]:
    sign = 1 if sweep.best == "min" else -1

    def place(outcome: PointOutcome) -> tuple[bool, float]:
        value = outcome.figures.get(sweep.metric) if outcome.status == "done" else None
        return (value is None, 0.0 if value is None else sign * value)

    return sorted(outcomes, key=place)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(value: Any) -> str | float | int | bool | None:
    return value if value is None or isinstance(value, (str, float, int, bool)) else json.dumps(value)


def _cell(value: Any) -> str:
    if value is None:
        return _MISSING
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value).replace("|", "\\|")


def _yaml(value: Any) -> str:
    # YAML 1.1 takes a number with an exponent for a string unless it has a point.
    if isinstance(value, float) and "e" in repr(value) and "." not in repr(value):
        return repr(value).replace("e", ".0e")
    return json.dumps(value)
