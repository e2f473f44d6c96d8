"""Pictures of a report: one static SVG for the page and a small PNG for the web UI.

Imported only for drawing (it loads matplotlib). Figures are built through matplotlib's object interface inside an
`rc_context` of its defaults, so that neither pyplot's global state nor a user's matplotlibrc changes a byte. Text stays
text (no font is embedded), and colours are stand-ins that become CSS variables, so that the page's light and dark
themes apply to the picture as well.
"""

import io
import re
from datetime import date
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from quant_assets.reporting.pages import MONTHS
from quant_assets.reporting.report_data import ReportData

#: Stand-in colours and the CSS variables that replace them in the SVG.
INK, MUTED, GRID, ACCENT, BENCHMARK, LOSS = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "#0a0b06"
_CSS = {INK: "ink", MUTED: "muted", GRID: "line", ACCENT: "accent", BENCHMARK: "benchmark", LOSS: "loss"}
#: More names than this are left to the table.
_MOST_PICKS = 15
#: Months of the monthly returns.
_MOST_MONTHS = 12
#: Months of the trailing mean of the rank IC.
_TRAILING = 6
#: Colours of the PNG, which has a white background.
PNG_INK, PNG_MUTED, PNG_ACCENT, PNG_BENCHMARK = "#1c2430", "#667085", "#1f5fd0", "#748094"

_PNG_COLORS = 32

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "quant-assets",
    "figure.facecolor": "none",  # the page's card shows through
    "axes.facecolor": "none",
    "text.parse_math": False,  # a ticker is not a formula
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # avoids measuring the ticks of every axis
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "lines.linewidth": 1.6,
    "lines.solid_joinstyle": "round",
    "legend.frameon": False,
}
_DEFAULTS = {name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith(("backend", "_"))}
RC: dict[Any, Any] = {**_DEFAULTS, **_STYLE}


def report_svg(report: ReportData) -> str:
    """One SVG: equity and benchmark, drawdown, monthly rank IC, the picks' weights and scores, and monthly returns.

    Returns:
        An `<svg>` element without XML header, metadata, width and height, for inlining; colours are CSS variables
        `--ink`, `--muted`, `--line`, `--accent`, `--benchmark` and `--loss`.

    """
    with mpl.rc_context(RC):
        figure = Figure(figsize=(11.0, 6.6))
        margins = {"left": 0.048, "right": 0.985, "top": 0.955, "bottom": 0.045, "hspace": 0.36, "wspace": 0.17}
        grid = figure.add_gridspec(3, 2, width_ratios=(2.0, 1.0), height_ratios=(2.4, 1.0, 1.0), **margins)
        equity = figure.add_subplot(grid[0, 0])
        _equity(equity, report)
        _drawdown(figure.add_subplot(grid[1, 0], sharex=equity), report.track)
        _information_coefficient(figure.add_subplot(grid[2, 0], sharex=equity), report.ic, report.horizon)
        _picks(figure.add_subplot(grid[0, 1]), report)
        _months(figure.add_subplot(grid[1:, 1]), report.track)
        month_ticks(equity, _span(report))
        return svg(figure)


def svg(figure: Figure) -> str:
    """A figure as an `<svg>` element, as `report_svg` gives it; to be called inside the `rc_context` of `RC`."""
    canvas: Any = FigureCanvasSVG(figure)
    _leave_unmeasured(figure)
    buffer = io.StringIO()
    canvas.print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(buffer.getvalue())


def preview_png(report: ReportData) -> bytes:
    """A picture of 520 x 240 pixels of equity against the benchmark, for the metadata of the web UI."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(5.2, 2.4), dpi=100, facecolor="white")
        axes = figure.add_axes((0.09, 0.12, 0.89, 0.75))
        light(axes, f"{report.sector_name}, {report.as_of:%Y-%m}: growth of 100, net of costs")
        if len(report.track):
            days = in_days(report.track["date"])
            axes.plot(
                days,
                100 * report.track["benchmark_growth"].to_numpy(),
                color=PNG_BENCHMARK,
                linewidth=1.2,
                label="sector, equal weight",
            )
            axes.plot(days, 100 * report.track["growth"].to_numpy(), color=PNG_ACCENT, label="portfolio")
            axes.margins(y=0.14)
            axes.legend(loc="upper left", fontsize=7.5, labelcolor=PNG_MUTED, ncols=2)
            month_ticks(axes, (int(days[0]), int(days[-1])))
        else:
            nothing(axes, "no positions yet", PNG_MUTED)
        return png(figure)


def png(figure: Figure, colours: int = _PNG_COLORS) -> bytes:
    """A figure as a small PNG: few colours, no metadata."""
    _leave_unmeasured(figure)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(colours)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _leave_unmeasured(figure: Figure) -> None:
    """Place the names of axes that have none, so that matplotlib does not measure every tick to do so."""
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if not axis.get_label_text():
            axis.set_label_coords(0.0, 0.0)


def light(axes: Axes, title: str) -> None:
    """Title and colours of a PNG's axes."""
    axes.set_title(title, color=PNG_INK, fontsize=8.5)
    axes.grid(color="#eaecf0")
    axes.tick_params(colors=PNG_MUTED, labelcolor=PNG_MUTED, labelsize=7.5)
    axes.spines["bottom"].set_color("#d0d5dd")


def _equity(axes: Axes, report: ReportData) -> None:
    track = report.track
    axes.set_title("Growth of 100, net of costs")
    axes.tick_params(labelbottom=False)
    if track.is_empty():
        nothing(axes, "no positions yet")
        return
    days = in_days(track["date"])
    axes.plot(
        days, 100 * track["benchmark_growth"].to_numpy(), color=BENCHMARK, linewidth=1.3, label="Sector, equal weight"
    )
    index = track["index_growth"].to_numpy()
    if np.isfinite(index).any():
        axes.plot(days, 100 * index, color=MUTED, linewidth=1.1, linestyle=(0, (4, 2)), label=report.index)
    axes.plot(days, 100 * track["growth"].to_numpy(), color=ACCENT, label="Portfolio")
    axes.axhline(100, color=MUTED, linewidth=0.6)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper left", ncols=3, labelcolor=MUTED, borderaxespad=0.1)
    axes.margins(y=0.12)
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _drawdown(axes: Axes, track: pl.DataFrame) -> None:
    axes.set_title("Drawdown")
    axes.tick_params(labelbottom=False)
    if track.is_empty():
        nothing(axes, "no positions yet")
        return
    days, loss = in_days(track["date"]), -100 * track["drawdown"].to_numpy()
    axes.fill_between(days, loss, 0, color=LOSS, alpha=0.25, linewidth=0)
    axes.plot(days, loss, color=LOSS, linewidth=1.0)
    axes.set_ylim(min(1.15 * float(loss.min()), -1.0), 0)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%".replace("-", "−")))


def _information_coefficient(axes: Axes, ic: pl.DataFrame, horizon: int) -> None:
    axes.set_title(f"Rank IC of the {horizon}-session forecast by month (line: {_TRAILING} months, dashes: all)")
    if ic.is_empty():
        nothing(axes, "no forecast has matured yet")
        return
    dates, values = ic["date"].to_list(), ic["rank_ic"].to_list()
    months = sorted({day.replace(day=1) for day in dates})
    means = np.array(
        [_mean([v for day, v in zip(dates, values, strict=True) if day.replace(day=1) == month]) for month in months]
    )
    middle = np.array([np.datetime64(month, "D").astype(np.int64) + 14 for month in months], dtype=float)
    axes.bar(middle, means, width=22, color=[ACCENT if mean >= 0 else LOSS for mean in means], alpha=0.85)
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.axhline(_mean(values), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    if len(months) >= _TRAILING:
        trailing = np.convolve(means, np.full(_TRAILING, 1.0 / _TRAILING), "valid")
        axes.plot(middle[_TRAILING - 1 :], trailing, color=BENCHMARK)
    reach = 1.15 * max(0.1, float(np.abs(means).max()))
    axes.set_ylim(-reach, reach)
    axes.yaxis.set_major_locator(MaxNLocator(4, symmetric=True))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:+.2f}".replace("-", "−") if abs(value) > 1e-9 else "0")
    )


def _picks(axes: Axes, report: ReportData) -> None:
    picks = report.picks
    forecast = report.score_source == "prediction"
    which = f"{_MOST_PICKS} best names: weight" if len(picks) > _MOST_PICKS else "Weight"
    axes.set_title(f"{which} ({'forecast return' if forecast else 'selection score'})")
    axes.grid(visible=False)
    if picks.is_empty():
        nothing(axes, "nothing is held")
        axes.set_axis_off()
        return
    shown = picks.head(_MOST_PICKS)
    rows = np.arange(len(shown))
    weights = 100 * shown["weight"].to_numpy()
    axes.barh(rows, weights, height=0.62, color=ACCENT, alpha=0.85)
    for row, weight, score in zip(rows, weights, shown["score"].to_list(), strict=True):
        # A name that the turnover limit keeps has no score.
        text = "" if score is None else f"  ({100 * score:+.1f}%)" if forecast else f"  ({score:+.2f})"
        axes.annotate(
            f"{weight:.1f}%{text}".replace("-", "−"),
            (max(weight, 0.0), row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(rows, shown["ticker"].to_list())
    axes.set_ylim(max(len(shown), 8) - 0.4, -0.6)
    axes.set_xlim(1.1 * min(float(weights.min()), 0.0), 1.75 * max(float(weights.max()), 1.0))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", labelcolor=INK)


def _months(axes: Axes, track: pl.DataFrame) -> None:
    axes.set_title(f"Return by month, last {_MOST_MONTHS}")
    if track.is_empty():
        nothing(axes, "no positions yet")
        axes.set_axis_off()
        return
    days = track["date"].to_list()
    ends = [i for i, day in enumerate(days) if i + 1 == len(days) or days[i + 1].month != day.month][
        -_MOST_MONTHS - 1 :
    ]
    starts = ends[:-1] if len(ends) > _MOST_MONTHS else [-1, *ends[:-1]]
    ends = ends[-len(starts) :]
    rows = np.arange(len(ends), dtype=float)
    for name, label, color, shift in (
        ("growth", "Portfolio", ACCENT, -0.2),
        ("benchmark_growth", "Sector", BENCHMARK, 0.2),
    ):
        level = track[name].to_list()
        before = [level[start] if start >= 0 else 1.0 for start in starts]
        # No return after a total loss.
        change = [100 * (level[end] / base - 1.0) if base else 0.0 for end, base in zip(ends, before, strict=True)]
        axes.bar(rows + shift, change, width=0.38, color=color, label=label)
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.set_xlim(-0.6, max(len(ends), 6) - 0.4)
    axes.set_xticks(rows, [MONTHS[days[end].month - 1][:1] for end in ends])
    axes.margins(y=0.16)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%".replace("-", "−")))
    axes.legend(loc="upper left", ncols=2, labelcolor=MUTED, borderaxespad=0.1, fontsize=8)


def nothing(axes: Axes, message: str, color: str = MUTED) -> None:
    """A message where there is nothing to draw."""
    axes.set_yticks([])
    axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center", color=color)


def month_ticks(axes: Axes, span: tuple[int, int]) -> None:
    """Ticks at month starts, at most about nine of them, on an axis in days since 1970."""
    first, last = (np.datetime64(day, "D").astype("datetime64[M]").astype(int) for day in span)
    step = next(step for step in (1, 2, 3, 6, 12, 24, 60, 120) if (last - first) / step <= 9 or step == 120)
    months = [month for month in range(first, last + 1) if month % step == 0]
    starts = [int(np.datetime64(month, "M").astype("datetime64[D]").astype(int)) for month in months]
    labels = [
        f"{MONTHS[month % 12][:3]} {1970 + month // 12}" if step < 12 else f"{1970 + month // 12}" for month in months
    ]
    shown = [(start, label) for start, label in zip(starts, labels, strict=True) if start >= span[0]]
    axes.set_xticks([start for start, _ in shown], [label for _, label in shown])
    axes.set_xlim(span[0], max(span[1], span[0] + 1))


def _span(report: ReportData) -> tuple[int, int]:
    """First and last day of the time axis, in days since 1970."""
    first = min(
        [*report.track["date"].head(1).to_list(), *report.ic["date"].head(1).to_list(), report.as_of.replace(day=1)]
    )
    return _day(first.replace(day=1)), _day(report.as_of)


def _day(day: date) -> int:
    return int(np.datetime64(day, "D").astype(np.int64))


def in_days(dates: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Days since 1970."""
    return dates.to_physical().to_numpy().astype(np.float64)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _inline(svg: str) -> str:
    """The bare `<svg>` element with CSS variables for colours and the page's font.

    Coordinates are rounded to a hundredth of a point.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(?<=\.\d\d)\d+", "", path[0]), svg)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    for color, name in _CSS.items():
        svg = svg.replace(color, f"var(--{name})")
    return svg
