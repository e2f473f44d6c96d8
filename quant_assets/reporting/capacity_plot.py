"""Results over the size of the book, drawn."""

import io
from collections.abc import Mapping, Sequence

from quant_assets.backtest.capacity import Capacity


def capacity_png(results: Mapping[str, Sequence[Capacity]]) -> bytes:
    """Sharpe ratio and a year's cost over capital, a line for each sector; the same bytes for the same figures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for name, rows in results.items():
        with_sharpe = [row for row in rows if row.sharpe is not None]
        left.plot([row.capital for row in with_sharpe], [row.sharpe for row in with_sharpe], marker="o", label=name)
        right.plot([row.capital for row in rows], [100.0 * row.cost for row in rows], marker="o", label=name)
    for axes, title in ((left, "Sharpe ratio after costs"), (right, "cost, % of equity a year")):
        axes.set_xscale("log")
        axes.set_xlabel("capital, USD")
        axes.set_title(title)
        axes.grid(visible=True, alpha=0.3)
    left.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100, metadata={"Software": None})
    return content.getvalue()
