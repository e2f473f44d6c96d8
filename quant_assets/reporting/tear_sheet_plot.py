"""Picture of the strongest factors for the web UI. Imported only for drawing, because it imports matplotlib."""

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from quant_assets.reporting.plots import PNG_ACCENT, PNG_INK, RC, light, png

_LOSS = "#c4432f"


def strongest_png(rows: pl.DataFrame, title: str) -> bytes:
    """A picture of 620 x 300 pixels: IC of each factor, with two standard errors to both sides.

    Args:
        rows: `factor, horizon, ic, ic_standard_error` of dataset factor_tear_sheet, best first, one row at least.
        title: which sector and month.

    """
    with mpl.rc_context(RC):
        figure = Figure(figsize=(6.2, 3.0), dpi=100, facecolor="white")
        axes = figure.add_axes((0.34, 0.1, 0.63, 0.8))
        light(axes, f"{title}: rank IC at {rows['horizon'][0]} sessions, ± 2 standard errors")
        heights, ic = np.arange(len(rows)), rows["ic"].to_numpy()
        axes.barh(heights, ic, height=0.62, color=np.where(ic >= 0, PNG_ACCENT, _LOSS), alpha=0.85)
        axes.errorbar(
            ic, heights, xerr=2 * rows["ic_standard_error"].to_numpy(), fmt="none", ecolor=PNG_INK, elinewidth=0.9
        )
        axes.axvline(0, color=PNG_INK, linewidth=0.7)
        axes.set_yticks(heights, rows["factor"].to_list(), color=PNG_INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:+.2f}".replace("-", "−") if abs(value) > 1e-9 else "0")
        )
        return png(figure)
