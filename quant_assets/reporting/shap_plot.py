"""SHAP summary of models as a small SVG: what the features add to forecasts, a point for each drawn row. No library."""

from collections.abc import Mapping
from xml.sax.saxutils import escape

import numpy as np
import polars as pl

#: Features of a panel, its size in pixels, and the place of names and title.
_FEATURES = 8
_WIDTH, _ROW, _LEFT, _TOP, _BOTTOM = 190, 17, 172, 36, 22
#: From the lowest to the highest value of a feature among the rows, and of a missing one; distinct for those who see no
#: red or green.
_COLOURS = ("#0072b2", "#5a92b5", "#999999", "#c9834f", "#d55e00")
_MISSING = "#d8d8d8"
#: Pixels of a column of points, between points of a column, and from the middle of a row at most.
_COLUMN, _STEP, _REACH = 3.0, 2.0, 6.0


def shap_svg(panels: Mapping[str, Mapping[int, pl.DataFrame]]) -> str:
    """A line of panels for each model, one for each horizon, with the features that add most in either direction.

    Args:
        panels: of each model and horizon what `learning.contributions.sampled_contributions` gives.

    Returns:
        An `<svg>` element whose bytes follow from the figures alone.

    """
    across = max(len(horizons) for horizons in panels.values())
    width, tall = across * (_WIDTH + _LEFT) + 10, _TOP + _FEATURES * _ROW + _BOTTOM
    height = tall * len(panels) + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="{height - 8}">value of the feature: <tspan fill="{_COLOURS[0]}">low</tspan>, '
        f'<tspan fill="{_COLOURS[-1]}">high</tspan>, <tspan fill="#777777">missing (pale)</tspan></text>',
    ]
    for line, (model, horizons) in enumerate(panels.items()):
        for column, (horizon, rows) in enumerate(sorted(horizons.items())):
            left, top = column * (_WIDTH + _LEFT) + _LEFT, line * tall + _TOP
            parts.append(f'<text x="{left}" y="{top - 12}" font-weight="bold">{escape(model)}, {horizon} d</text>')
            parts += _panel(rows, left, top)
    return "".join([*parts, "</svg>"])


def _panel(rows: pl.DataFrame, left: int, top: int) -> list[str]:
    size = pl.col("contribution").abs().mean()
    first = rows.group_by("feature").agg(size=size).sort("size", "feature", descending=[True, False])
    names = first["feature"].head(_FEATURES).to_list()
    shown = rows.filter(pl.col("feature").is_in(names))
    reach = float(shown.select(pl.col("contribution").abs().max()).item()) or 1.0
    middle, bottom = left + _WIDTH / 2, top + _FEATURES * _ROW
    elements = [
        f'<line x1="{middle}" y1="{top}" x2="{middle}" y2="{bottom}" stroke="#999999"/>',
        f'<text x="{left}" y="{bottom + 12}">{-reach:.2g}</text>',
        f'<text x="{left + _WIDTH}" y="{bottom + 12}" text-anchor="end">{reach:+.2g}</text>',
        f'<text x="{middle}" y="{bottom + 12}" text-anchor="middle">adds to the forecast</text>',
    ]
    for line, name in enumerate(names):
        height = top + line * _ROW + _ROW / 2
        elements.append(f'<text x="{left - 6}" y="{height + 3:.1f}" text-anchor="end">{escape(name)}</text>')
        elements += _points(shown.filter(pl.col("feature") == name), middle, height, _WIDTH / 2 / reach)
    return elements


def _points(rows: pl.DataFrame, middle: float, height: float, scale: float) -> list[str]:
    """A path for each colour; points are lines without length, with round ends, and those of a column lie apart."""
    ordered = rows.sort("contribution", "ticker", "date")
    across = middle + scale * ordered["contribution"].to_numpy()
    columns = np.floor(across / _COLUMN)
    _, begins = np.unique(columns, return_index=True)
    number = np.arange(len(columns)) - np.repeat(begins, np.diff([*begins, len(columns)]))
    up = np.where(number % 2, 1, -1) * np.minimum((number + 1) // 2 * _STEP, _REACH)
    present = ordered["value"].count()
    rank = ((ordered["value"].rank() - 1) / max(present - 1, 1) * len(_COLOURS)).to_numpy()
    bins = np.where(np.isnan(rank), -1, np.minimum(np.nan_to_num(rank), len(_COLOURS) - 1)).astype(int)
    places = np.rint(np.column_stack([across, height + up])).astype(int)  # whole pixels: half the bytes
    paths = []
    for bin_number in range(-1, len(_COLOURS)):
        in_bin = places[bins == bin_number]
        if len(in_bin):
            moves = "".join(f"m{x} {y}h0" for x, y in np.diff(in_bin, axis=0, prepend=0).tolist())
            colour = _COLOURS[bin_number] if bin_number >= 0 else _MISSING
            paths.append(f'<path d="{moves}" stroke="{colour}" stroke-width="3" stroke-linecap="round"/>')
    return paths
