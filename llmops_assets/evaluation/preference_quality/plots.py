"""Four pictures, a question each. Colours are those of Okabe and Ito, told apart by colour-blind readers too."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from llmops_assets.evaluation.preference_quality.figures import PreferenceFigures, Share, VersionPairFigures
from llmops_assets.feedback.specs import VoteQualitySpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, VERMILLION, GREY, LIGHT = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7F7F7F", "#C9C9C9"
_MOST_BARS = 12
_WIDTH = 7.0
_BINS = 25
_WIDEST = 3.0


def preference_plots(
    figures: PreferenceFigures, ratios: Mapping[str, Sequence[float]], limits: VoteQualitySpec
) -> dict[str, bytes]:
    """Draw what there is and return PNG bytes by name; equal figures give equal bytes.

    `ratios` holds log2 of chosen length over rejected length per pair, by origin (`votes`, or a data set).
    """
    plots = {}
    if figures.version_pairs:
        plots["verdicts"] = _verdicts(figures.version_pairs)
    if figures.left.of or any(entry.longer.of for entry in figures.data_sets):
        plots["biases"] = _biases(figures, limits)
    if any(rater.pairs for rater in figures.raters):
        plots["raters"] = _raters(figures, limits)
    if any(ratios.values()):
        plots["lengths"] = _lengths({name: values for name, values in ratios.items() if values})
    return plots


def _verdicts(counted: Sequence[VersionPairFigures]) -> bytes:
    pairs = sorted(sorted(counted, key=lambda pair: -pair.votes)[:_MOST_BARS], key=lambda pair: pair.pair)
    left_out = (
        f"; {len(counted) - len(pairs)} pairs with fewer votes are not shown" if len(counted) > len(pairs) else ""
    )

    def draw(axes: "Axes") -> None:
        parts = [
            ("first version wins", BLUE, [pair.first for pair in pairs]),
            ("tie", LIGHT, [pair.tie for pair in pairs]),
            ("skip", GREY, [pair.skip for pair in pairs]),
            ("both bad", VERMILLION, [pair.both_bad for pair in pairs]),
            ("second version wins", ORANGE, [pair.second for pair in pairs]),
        ]
        start = [0.0] * len(pairs)
        for name, color, counts in parts:
            shares = [100 * count / pair.votes for count, pair in zip(counts, pairs, strict=True)]
            bars = axes.barh(range(len(pairs)), shares, left=start, color=color, label=name, edgecolor="white")
            shown = [f"{count}" if share >= 4 else "" for count, share in zip(counts, shares, strict=True)]
            ink = "white" if color in (BLUE, GREY, VERMILLION) else "black"
            axes.bar_label(bars, labels=shown, label_type="center", fontsize="small", color=ink)
            start = [before + share for before, share in zip(start, shares, strict=True)]
        names = [f"{_paired(pair)}\nn = {pair.votes} votes" for pair in pairs]
        _rows_from_the_top(axes, names)
        axes.set(
            title="What did raters say, by pair of versions?", xlabel=f"share of votes (%){left_out}", xlim=(0, 100)
        )
        axes.figure.legend(loc="outside lower center", ncols=len(parts), fontsize="x-small")

    return _drawn(draw, height=1.6 + 0.55 * len(pairs))


def _paired(pair: VersionPairFigures) -> str:
    first, _, second = pair.pair.partition(" vs ")
    return f"{first}: left vs right" if first == second else pair.pair


def _biases(figures: PreferenceFigures, limits: VoteQualitySpec) -> bytes:
    side, length = limits.max_position_deviation, limits.max_length_deviation
    # Label, estimate, bounds, and how far from one half the limit lets it be; the adjusted figures have no limit.
    rows = [_bias(f"left answer\nn = {figures.left.of} votes", figures.left, side)]
    rows.append(_bias(f"longer answer\nn = {figures.longer.of} votes", figures.longer, length))
    if (adjusted := figures.adjusted) is not None:
        n = f"n = {adjusted.votes} votes"
        rows.append((f"left, at equal length\n{n}", adjusted.left, adjusted.left_low, adjusted.left_high, None))
        rows.append(
            (f"twice as long, side held\n{n}", adjusted.longer, adjusted.longer_low, adjusted.longer_high, None)
        )
    sets = sorted(figures.data_sets, key=lambda entry: -entry.pairs)
    left_out = f"; {len(sets) - _MOST_BARS} smaller sets are not shown" if len(sets) > _MOST_BARS else ""
    for entry in sets[:_MOST_BARS]:
        rows.append(_bias(f"longer, in {entry.source}\nn = {entry.longer.of} pairs", entry.longer, length))
    shown = [row for row in rows if row is not None]

    def draw(axes: "Axes") -> None:
        for place, (_, estimate, low, high, deviation) in enumerate(shown):
            if deviation is not None:
                axes.barh(place, 200 * deviation, left=50 - 100 * deviation, color=GREEN, alpha=0.2)
            error = [[max(0.0, 100 * (estimate - low))], [max(0.0, 100 * (high - estimate))]]  # rounding at 0 and 1
            axes.errorbar(100 * estimate, place, xerr=error, fmt="o", color=BLUE, capsize=4, ecolor="black")
        axes.axvline(50, color="black", linewidth=0.8, linestyle="--")
        _rows_from_the_top(axes, [row[0] for row in shown])
        whose = " (simulated votes)" if figures.simulated else ""
        axes.set(title=f"Do votes follow side or length?{whose}", xlim=(-2, 102))
        axes.set_xlabel(
            f"chosen (%), with {limits.confidence:.0%} interval; 50 is no influence; shaded: inside the limit{left_out}"
        )

    return _drawn(draw, height=1.2 + 0.5 * len(shown))


def _bias(label: str, share: Share, deviation: float) -> "tuple[str, float, float, float, float | None] | None":
    interval = share.interval()
    return None if interval is None else (label, interval.estimate, interval.low, interval.high, deviation)


def _raters(figures: PreferenceFigures, limits: VoteQualitySpec) -> bytes:
    deciding = [rater for rater in figures.raters if rater.pairs]
    shown = deciding[:_MOST_BARS]
    rest = sum(rater.share_of_pairs or 0.0 for rater in deciding[_MOST_BARS:])
    shares = [100 * (rater.share_of_pairs or 0.0) for rater in shown] + ([100 * rest] if rest else [])
    names = [f"{rater.rater[:6]} ({rater.kind})" for rater in shown]
    names += [f"{len(deciding) - len(shown)} others"] if rest else []
    counts = [str(rater.pairs) for rater in shown] + ([""] if rest else [])

    def draw(axes: "Axes") -> None:
        limit = 100 * limits.max_rater_share
        judged = not figures.simulated
        colors = [VERMILLION if judged and share > limit else BLUE for share in shares[: len(shown)]] + [LIGHT]
        bars = axes.barh(range(len(shares)), shares, color=colors[: len(shares)])
        axes.bar_label(bars, labels=counts, padding=3, fontsize="small")
        if judged:
            axes.axvline(limit, color="black", linestyle="--", label=f"limit: {limit:.0f} %")
            axes.legend(fontsize="small")
        _rows_from_the_top(axes, names)
        n = sum(rater.pairs for rater in deciding)
        axes.set(title="Who decides the set?", xlabel=f"share of the pairs from votes (%), n = {n} pairs")
        axes.set_xlim(0, min(110, max(1.15 * max(shares), 1.15 * limit if judged else 0)))

    return _drawn(draw, height=1.3 + 0.35 * len(shares))


def _lengths(ratios: Mapping[str, Sequence[float]]) -> bytes:
    def draw(axes: "Axes") -> None:
        edges = [-_WIDEST + 2 * _WIDEST * step / _BINS for step in range(_BINS + 1)]
        colors = (BLUE, ORANGE, GREEN, VERMILLION, GREY)
        styles = ("-", "--", "-.", ":", (0, (1, 1)))
        for index, (name, values) in enumerate(_told_apart(ratios, len(colors)).items()):
            clipped = [min(max(value, -_WIDEST), _WIDEST) for value in values]
            weights = [100 / len(values)] * len(values)
            axes.hist(
                clipped,
                edges,
                weights=weights,
                histtype="step",
                color=colors[index],
                linestyle=styles[index],
                linewidth=1.8,
                label=f"{name}, n = {len(values)} pairs",
            )
        axes.axvline(0, color="black", linewidth=0.8, linestyle="--")
        ticks = range(-int(_WIDEST), int(_WIDEST) + 1)
        axes.set_xticks(list(ticks), [_factor(tick) for tick in ticks])
        axes.set(title="How much longer are chosen answers?", ylabel="share of pairs (%)")
        axes.set_xlabel("characters of the chosen answer over those of the rejected one (outer bars: and beyond)")
        axes.legend(fontsize="small")

    return _drawn(draw, height=3.4)


def _told_apart(ratios: Mapping[str, Sequence[float]], most: int) -> Mapping[str, Sequence[float]]:
    """Return the ratios by origin; of more than `most` origins, those with the fewest pairs are one."""
    if len(ratios) <= most:
        return ratios
    ranked = sorted(ratios, key=lambda name: -len(ratios[name]))
    rest = [value for name in ranked[most - 1 :] for value in ratios[name]]
    return {name: ratios[name] for name in ranked[: most - 1]} | {f"{len(ranked) - most + 1} others": rest}


def _rows_from_the_top(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _factor(tick: int) -> str:
    return f"{2**tick}x" if tick >= 0 else f"1/{2**-tick}x"


def _drawn(draw, *, height: float) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    draw(axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
