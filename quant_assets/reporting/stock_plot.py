"""Pictures of one stock's page as one static SVG: price, factors, forecasts, the grid of values, and statements.

Imported only for drawing, because it imports matplotlib.
"""

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from quant_assets.portfolio.scores import FACTORS
from quant_assets.reporting.plots import ACCENT, BENCHMARK, INK, LOSS, MUTED, RC, in_days, month_ticks, nothing, svg
from quant_assets.reporting.stock_data import AVERAGES, Stock

#: Sessions of the price that are drawn.
_SESSIONS = 378
_OF_AVERAGES = (BENCHMARK, LOSS)
#: Change of value from which on a cell has its full colour.
_FULL = 1.0


def stock_svg(stock: Stock) -> str:
    """An `<svg>` element for inlining, the same bytes for the same content; its colours are those of `plots`."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(11.0, 9.2))
        margins = {"left": 0.062, "right": 0.985, "top": 0.965, "bottom": 0.04, "hspace": 0.34, "wspace": 0.22}
        grid = figure.add_gridspec(3, 2, width_ratios=(1.5, 1.0), **margins)
        _price(figure.add_subplot(grid[0, 0]), stock)
        _factors(figure.add_subplot(grid[0, 1]), stock)
        _forecasts(figure.add_subplot(grid[1, 0]), stock)
        _values(figure.add_subplot(grid[1, 1]), stock)
        _statements(figure.add_subplot(grid[2, 0]), stock, ("revenue",))
        _statements(figure.add_subplot(grid[2, 1]), stock, ("net_income", "operating_cash_flow"))
        return svg(figure)


def _price(axes: Axes, stock: Stock) -> None:
    axes.set_title("Price, adjusted, USD at the level of the last close")
    drawn = stock.prices.tail(_SESSIONS)
    if drawn.is_empty():
        nothing(axes, "no prices")
        return
    days = in_days(drawn["date"])
    for sessions, colour in zip(AVERAGES, _OF_AVERAGES, strict=True):
        mean = drawn[f"sma_{sessions}"].fill_null(np.nan).to_numpy()
        axes.plot(days, mean, color=colour, linewidth=1.1, label=f"mean of {sessions} sessions")
    axes.plot(days, drawn["close"].to_numpy(), color=ACCENT, linewidth=1.4, label="close")
    if stock.score["fair_value"] is not None and stock.score["fair_value"] < 2.5 * drawn["close"].max():  # type: ignore[operator]
        axes.axhline(stock.score["fair_value"], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), label="fair value")
    axes.margins(y=0.16)
    axes.legend(loc="upper left", ncols=4, labelcolor=MUTED, borderaxespad=0.1, fontsize=7.5)
    month_ticks(axes, (int(days[0]), int(days[-1])))


def _factors(axes: Axes, stock: Stock) -> None:
    axes.set_title("Scores; dots are the sector's other members")
    names = (*FACTORS, "composite")
    axes.set_yticks(range(len(names)), list(names), color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 106)  # room for the figures
    axes.set_xticks(range(0, 101, 20))
    axes.grid(axis="y", visible=False)
    axes.axvline(50, color=MUTED, linewidth=0.7)
    others = stock.peers.filter(pl.col("ticker") != stock.ticker)
    for row, name in enumerate(names):
        values = others[name].drop_nulls().to_numpy()
        axes.plot(values, np.full(len(values), row + 0.27), "o", color=BENCHMARK, markersize=2.6, alpha=0.8)
        score = stock.score[name]
        if score is not None:
            axes.barh(row - 0.06, score, height=0.34, color=ACCENT)
            axes.annotate(f"{score:.0f}", (score + 1.0, row - 0.06), va="center", color=INK, fontsize=8)


def _forecasts(axes: Axes, stock: Stock) -> None:
    axes.set_title("Forecast return by horizon in sessions, with its interval or deviation")
    if stock.forecasts.is_empty():
        nothing(axes, "no forecast at this session")
        return
    horizons = stock.forecasts["horizon"].unique().sort().to_list()
    models = stock.forecasts["model"].unique().sort().to_list()
    colours = (ACCENT, BENCHMARK, LOSS, MUTED, INK)
    width = 0.7 / len(models)
    for model_number, model in enumerate(models):
        rows = stock.forecasts.filter(pl.col("model") == model)
        at = [horizons.index(h) + (model_number - (len(models) - 1) / 2) * width for h in rows["horizon"]]
        mean, spread = rows["prediction"], rows["prediction_std"]
        lower = rows["prediction_lower"].fill_null(mean - spread).to_numpy()
        upper = rows["prediction_upper"].fill_null(mean + spread).to_numpy()
        colour = colours[model_number % len(colours)]
        axes.vlines(at, 100 * lower, 100 * upper, color=colour, linewidth=1.4, alpha=0.7)
        axes.plot(at, 100 * mean.to_numpy(), "o", color=colour, markersize=4.5, label=model)
    axes.axhline(0, color=MUTED, linewidth=0.7)
    axes.set_xticks(range(len(horizons)), [str(horizon) for horizon in horizons])
    axes.margins(y=0.2)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%".replace("-", "−")))
    axes.legend(loc="upper left", ncols=3, labelcolor=MUTED, borderaxespad=0.1, fontsize=7.5)


def _values(axes: Axes, stock: Stock) -> None:
    axes.set_title("Fair value by discount rate and growth, USD")
    axes.grid(visible=False)
    if stock.values is None:
        nothing(axes, str(stock.score["no_fair_value"]))
        return
    table, close = stock.values.per_share, stock.score["close_unadjusted"]
    for row, values in enumerate(table):
        for column, value in enumerate(values):
            if np.isnan(value):
                axes.text(column, row, "–", ha="center", va="center", color=MUTED, fontsize=8)
                continue
            change = value / close - 1.0 if close else 0.0
            colour = ACCENT if change > 0 else LOSS
            shade = 0.65 * min(abs(change) / _FULL, 1.0)
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, alpha=shade, linewidth=0))
            axes.text(column, row, f"{value:,.2f}", ha="center", va="center", color=INK, fontsize=8)
    axes.set_xlim(-0.5, table.shape[1] - 0.5)
    axes.set_ylim(table.shape[0] - 0.5, -0.5)
    axes.set_xticks(range(table.shape[1]), [f"{100 * rate:.1f}%".replace("-", "−") for rate in stock.values.growths])
    axes.set_yticks(range(table.shape[0]), [f"{100 * rate:.1f}%" for rate in stock.values.waccs])


def _statements(axes: Axes, stock: Stock, figures: tuple[str, ...]) -> None:
    quarters = stock.statements.filter(pl.col("frequency") == "quarterly")
    frequency = "quarterly" if len(quarters) else "annual"
    rows = (
        stock.statements.filter(pl.col("frequency") == frequency).unique("period_end", keep="first").sort("period_end")
    )
    axes.set_title(f"{', '.join(figure.replace('_', ' ') for figure in figures).capitalize()}, USD million")
    if rows.is_empty() or all(rows[name].is_null().all() for name in figures):
        nothing(axes, "no statement is known")
        return
    at, width = np.arange(len(rows)), 0.7 / len(figures)
    for figure_number, (name, colour) in enumerate(zip(figures, (ACCENT, BENCHMARK), strict=False)):
        values = rows[name].fill_null(np.nan).to_numpy() / 1e6
        axes.bar(
            at + (figure_number - (len(figures) - 1) / 2) * width,
            values,
            width,
            color=colour,
            label=name.replace("_", " "),
        )
    axes.axhline(0, color=MUTED, linewidth=0.7)
    axes.set_xticks(at, [f"{day:%Y-%m}" for day in rows["period_end"]], fontsize=6.8)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace("-", "−")))
    if len(figures) > 1:
        axes.margins(y=0.2)
        axes.legend(loc="upper left", ncols=2, labelcolor=MUTED, borderaxespad=0.1, fontsize=7.5)
