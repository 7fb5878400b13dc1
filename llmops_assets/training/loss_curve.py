"""The loss of a run as a picture, for the asset's page. Imports no torch."""

import io
from collections.abc import Sequence


def loss_curve_png(rows: Sequence[dict[str, float]], title: str) -> bytes:
    """Draw `loss` and `eval_loss` (left axis) and `learning_rate` (right axis) over `step` and return PNG bytes.

    `rows` are those of a metrics.jsonl. Equal rows give equal bytes.

    Raises ValueError if there is no row with a loss.
    """
    evaluated = [row for row in rows if "eval_loss" in row]
    rows = [row for row in rows if "loss" in row]
    if not rows:
        raise ValueError(f"{title}: no metrics to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    steps = [row["step"] for row in rows]
    losses = figure.add_subplot()
    losses.plot(steps, [row["loss"] for row in rows], color="tab:blue", marker="o", markersize=2)
    if evaluated:
        at = [row["step"] for row in evaluated]
        losses.plot(at, [row["eval_loss"] for row in evaluated], color="tab:orange", marker="s", markersize=3)
        losses.legend(["training", "validation"], fontsize="small")
    losses.set(title=title, xlabel="step", ylabel="loss (nats)")
    losses.grid(alpha=0.3)
    rates = losses.twinx()
    rates.plot(steps, [row["learning_rate"] for row in rows], color="tab:gray", linewidth=0.8)
    rates.set_ylabel("learning rate")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
