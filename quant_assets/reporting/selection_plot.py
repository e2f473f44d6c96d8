"""Picture of a run's candidates for the web UI: scores, coverage and turnover. Loaded by those who draw only, with matplotlib."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from quant_assets.reporting.plots import PNG_ACCENT, PNG_BENCHMARK, PNG_INK, PNG_MUTED, RC, light, month_ticks, nothing, png
from quant_assets.signals.selection import Selection

_LONG, _SHORT = "#0f8a5f", "#c4432b"
#: One for each of eleven sectors.
_SECTORS = mpl.colormaps["tab20"].colors[::2] + ("#101828",)  # type: ignore[attr-defined]
_PARTS = {"composite_score": "composite", "momentum_score": "momentum", "ma_slope_score": "slope", "volatility_score": "low volatility"}


def selection_png(selections: Mapping[str, Selection], turnovers: Mapping[str, pl.DataFrame]) -> bytes:
    """A picture of 860 x 520 pixels.

    Top left: composite score and its parts of the eligible names at the last decision, longs and shorts coloured, with quartiles. Top
    right: the 10th, 50th and 90th percentile of the composite score by decision. Below: how many of the members were eligible and
    had a GARCH volatility, and the turnover of longs and shorts. With several sectors, a line for each: of coverage the eligible,
    of turnover both sides together.

    Args:
        selections: by sector.
        turnovers: what `selection.turnover` gives, by sector.

    Returns:
        PNG; the same bytes for the same input.

    """
    with mpl.rc_context(RC):
        figure = Figure(figsize=(8.6, 5.2), dpi=100, facecolor="white")
        bottom = 0.13 if len(selections) > 1 else 0.06
        grid = figure.add_gridspec(2, 2, left=0.09, right=0.985, top=0.945, bottom=bottom, hspace=0.33, wspace=0.14)
        _last_scores(figure.add_subplot(grid[0, 0]), selections)
        _by_decision(figure, [figure.add_subplot(grid[place]) for place in ((0, 1), (1, 0), (1, 1))], selections, turnovers)
        return png(figure)


def _last_scores(axes: Axes, selections: Mapping[str, Selection]) -> None:
    names = pl.concat([each.names for each in selections.values()])
    last = max(each.coverage["as_of"].max() for each in selections.values())  # type: ignore[type-var]
    names = names.filter(pl.col("as_of") == last)
    light(axes, f"Scores of {len(names)} eligible names, {last}")
    axes.set_yticks(range(len(_PARTS)), list(_PARTS.values()), color=PNG_INK)
    axes.set_ylim(len(_PARTS) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    if names.is_empty():
        nothing(axes, "nobody is eligible", PNG_MUTED)
        return
    colours = names["candidate_type"].replace_strict({"long": _LONG, "short": _SHORT}, default=PNG_BENCHMARK).to_list()
    for row, part in enumerate(_PARTS):
        values = names[part].to_numpy()
        axes.hlines(row + 0.28, *np.percentile(values, (25, 75)), color=PNG_INK, linewidth=3)
        axes.plot(np.median(values), row + 0.28, "|", color="white", markersize=6)
        axes.scatter(values, np.full(len(values), row - 0.08), c=colours, s=13, alpha=0.75, linewidths=0)


def _by_decision(figure: Figure, axes: list[Axes], selections: Mapping[str, Selection], turnovers: Mapping[str, pl.DataFrame]) -> None:
    several = len(selections) > 1
    spread, coverage, turnover = axes
    light(spread, "Composite score: 10th, 50th and 90th percentile")
    light(coverage, "Eligible of the members" if several else "Of the members")
    light(turnover, "New among longs and shorts" if several else "New among the longs and among the shorts")
    for share in (coverage, turnover):
        share.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        share.set_ylim(0, 1.04)
    days: list[int] = []
    for place, (sector, chosen) in enumerate(selections.items()):
        colour = _SECTORS[place] if several else PNG_ACCENT
        counts = chosen.coverage.filter(pl.col("members") > 0)
        days += chosen.coverage["as_of"].to_physical().to_list()
        style = {"marker": "o", "markersize": 3.0 if len(counts) <= 36 else 0.0, "linewidth": 1.0}
        levels = chosen.scored.sort("as_of").group_by("as_of", maintain_order=True).agg("composite_score")
        cuts = np.array([np.percentile(values, (10, 50, 90)) for values in levels["composite_score"]]).reshape(-1, 3)
        times = levels["as_of"].to_physical().to_numpy()
        for column in range(3):
            spread.plot(times, cuts[:, column], color=colour, **style | ({} if column == 1 else {"marker": "", "linewidth": 0.6}))
        if not several:
            spread.fill_between(times, cuts[:, 0], cuts[:, 2], color=colour, alpha=0.15, linewidth=0)
        times = counts["as_of"].to_physical().to_numpy()
        coverage.plot(
            times, (counts["eligible"] / counts["members"]).to_numpy(), color=colour, label=sector if several else "eligible", **style
        )
        moves = turnovers[sector]
        when = moves["as_of"].to_physical().to_numpy()
        if several:
            turnover.plot(
                when, moves.select(pl.mean_horizontal("long_turnover", "short_turnover")).to_series().to_numpy(), color=colour, **style
            )
            continue
        coverage.plot(
            times, (counts["with_garch_volatility"] / counts["members"]).to_numpy(), color=PNG_BENCHMARK, label="GARCH volatility", **style
        )
        for side, line in (("long", _LONG), ("short", _SHORT)):
            turnover.plot(when, moves[f"{side}_turnover"].cast(pl.Float64).to_numpy(), color=line, label=side, **style)
        if len(when):
            turnover.legend(loc="upper left", fontsize=7.5, labelcolor=PNG_MUTED, ncols=2)
        coverage.legend(loc="lower left", fontsize=7.5, labelcolor=PNG_MUTED, ncols=2)
    if not any(len(each) for each in turnovers.values()):
        nothing(turnover, "no month before", PNG_MUTED)
    span = (min(days), max(days)) if min(days) < max(days) else (min(days) - 15, max(days) + 15)
    for each in axes:
        month_ticks(each, span)
    if several:
        figure.legend(*coverage.get_legend_handles_labels(), loc="lower center", ncols=6, fontsize=7.5, labelcolor=PNG_MUTED, frameon=False)
