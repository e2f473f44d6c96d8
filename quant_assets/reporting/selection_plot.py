"""Picture of a run's candidates for the web UI: scores, coverage and turnover.

Imported only for drawing, because it imports matplotlib.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from quant_assets.reporting.plots import (
    PNG_ACCENT,
    PNG_BENCHMARK,
    PNG_INK,
    PNG_MUTED,
    RC,
    light,
    month_ticks,
    nothing,
    png,
)
from quant_assets.signals.selection import Selection

_LONG, _SHORT = "#0f8a5f", "#c4432b"
#: One for each of eleven sectors.
_SECTORS = (*mpl.colormaps["tab20"].colors[::2], "#101828")  # type: ignore[attr-defined]
#: Number that keeps the colours of the two sides.
_COLOURS = 128
_PARTS = {
    "composite_score": "selection score",
    "momentum_score": "price momentum",
    "ma_slope_score": "slope",
    "volatility_score": "low volatility",
}


def selection_png(selections: Mapping[str, Selection], turnovers: Mapping[str, pl.DataFrame]) -> bytes:
    """A picture of 860 x 520 pixels.

    Top left: selection score and its parts of the eligible names at the last decision, longs and shorts coloured, with
    quartiles. Top right: the 10th, 50th and 90th percentile of the selection score by decision. Below: how many of the
    members were eligible and had a GARCH volatility, and the turnover of longs and shorts. With several sectors, a line
    for each: of coverage the eligible, of turnover both sides together.

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
        panels = [figure.add_subplot(grid[position]) for position in ((0, 1), (1, 0), (1, 1))]
        _by_decision(panels, selections, turnovers)
        if len(selections) > 1:
            handles, labels = panels[1].get_legend_handles_labels()
            figure.legend(
                handles, labels, loc="lower center", ncols=6, fontsize=7.5, labelcolor=PNG_MUTED, frameon=False
            )
        return png(figure, _COLOURS)


def _last_scores(axes: Axes, selections: Mapping[str, Selection]) -> None:
    names = pl.concat([selection.names for selection in selections.values()])
    last: date = max(selection.coverage["as_of"].to_list()[-1] for selection in selections.values())
    names = names.filter(pl.col("as_of") == last)
    light(axes, f"Scores of {len(names)} eligible names, {last}")
    axes.set_yticks(range(len(_PARTS)), list(_PARTS.values()), color=PNG_INK)
    axes.set_ylim(len(_PARTS) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    if names.is_empty():
        nothing(axes, "no name is eligible", PNG_MUTED)
        return
    colours = names["candidate_type"].replace_strict({"long": _LONG, "short": _SHORT}, default=PNG_BENCHMARK).to_list()
    for row, part in enumerate(_PARTS):
        values = names[part].to_numpy()
        axes.hlines(row + 0.28, *np.percentile(values, (25, 75)), color=PNG_INK, linewidth=3)
        axes.plot(np.median(values), row + 0.28, "|", color="white", markersize=6)
        axes.scatter(values, np.full(len(values), row - 0.08), c=colours, s=13, alpha=0.75, linewidths=0)


def _by_decision(axes: list[Axes], selections: Mapping[str, Selection], turnovers: Mapping[str, pl.DataFrame]) -> None:
    several = len(selections) > 1
    spread, coverage, turnover = axes
    light(spread, "Selection score: 10th, 50th and 90th percentile")
    light(coverage, "Eligible among the members" if several else "Among the members")
    light(turnover, "New among longs and shorts" if several else "New among the longs and among the shorts")
    days = (
        pl.concat([selection.coverage["as_of"] for selection in selections.values()])
        .unique()
        .sort()
        .to_physical()
        .to_list()
    )
    style: dict[str, Any] = {"marker": "o", "markersize": 3.0 if len(days) <= 36 else 0.0, "linewidth": 1.0}
    levels = (
        pl.concat([selection.scored for selection in selections.values()])
        .sort("as_of")
        .group_by("as_of", maintain_order=True)
    )
    scores = levels.agg("composite_score")
    cuts = np.array([np.percentile(values, (10, 50, 90)) for values in scores["composite_score"]]).reshape(-1, 3)
    times = scores["as_of"].to_physical().to_numpy()
    spread.fill_between(times, cuts[:, 0], cuts[:, 2], color=PNG_ACCENT, alpha=0.15, linewidth=0)
    for column, width in enumerate((0.6, 1.2, 0.6)):
        spread.plot(times, cuts[:, column], color=PNG_ACCENT, **style | {"linewidth": width})
    for number, (sector, chosen) in enumerate(selections.items()):
        shares = chosen.coverage.filter(pl.col("members") > 0).select(
            pl.col("as_of").to_physical(), pl.col("eligible", "with_garch_volatility") / pl.col("members")
        )
        moves = turnovers[sector].select(
            pl.col("as_of").to_physical(),
            pl.col("long_turnover", "short_turnover").cast(pl.Float64),
            both=pl.mean_horizontal("long_turnover", "short_turnover"),
        )
        if several:
            lines = [
                (coverage, shares, "eligible", sector, _SECTORS[number]),
                (turnover, moves, "both", sector, _SECTORS[number]),
            ]
        else:
            lines = [
                (coverage, shares, "with_garch_volatility", "with a GARCH volatility", PNG_BENCHMARK),
                (coverage, shares, "eligible", "eligible", PNG_ACCENT),
                (turnover, moves, "long_turnover", "long", _LONG),
                (turnover, moves, "short_turnover", "short", _SHORT),
            ]
        for panel, frame, column_name, label, colour in lines:
            panel.plot(frame["as_of"].to_numpy(), frame[column_name].to_numpy(), color=colour, label=label, **style)
    for panel in axes:
        month_ticks(panel, (days[0], days[-1]) if len(days) > 1 else (days[0] - 15, days[0] + 15))
    for panel in (coverage, turnover):
        panel.set_ylim(0, 1.04 if several else 1.2)  # room for the legend
        panel.set_yticks(np.linspace(0, 1, 5))
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        if not several and (panel is coverage or len(days) > 1):
            panel.legend(loc="upper left", fontsize=7.5, labelcolor=PNG_MUTED, ncols=2, borderaxespad=0.1)
    if not any(map(len, turnovers.values())):
        nothing(turnover, "no month before", PNG_MUTED)
