"""The page of the total portfolio (holdings by sector and name, return so far), and the list of all pages.

`quant report` writes both on demand. Their templates are in `cli`, because a template in `reporting` counts as code of
every page of an asset.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

import jinja2
import polars as pl

from quant_assets.reporting.ops_report import number, percent, ratio
from quant_assets.reporting.pages import environment
from quant_assets.settings.sectors import SECTORS

#: Size of the picture in pixels, and its margins.
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 240, 52, 10, 16, 26


@dataclass(frozen=True)
class PortfolioData:
    """Content of the page.

    Attributes:
        as_of: decision session.
        sectors: those with a position, largest first: `sector, name, weight, gross, names`.
        holdings: `ticker, sector, weight, change` (of the weight since the previous decision; null without one),
            largest first.
        sold: tickers and weights of the previous decision that are no longer held, largest first.
        to_date: the row of portfolio_track_record at as_of; None before the first execution.
        track: `date, growth` of 1 invested before the first session, up to as_of.

    """

    as_of: date
    sectors: list[dict[str, Any]]
    holdings: list[dict[str, Any]]
    sold: list[tuple[str, float]]
    to_date: Mapping[str, Any] | None
    track: pl.DataFrame

    @property
    def invested(self) -> float:
        """Sum of the weights."""
        return float(sum(holding["weight"] for holding in self.holdings))


def gather(as_of: date, weights: pl.DataFrame, backtest: pl.DataFrame, track_record: pl.DataFrame) -> PortfolioData:
    """Cut the datasets at a decision.

    Args:
        as_of: decision session.
        weights: dataset portfolio_weights of its month and the month before; later rows are not used.
        backtest: dataset portfolio_backtest from its first month on; later rows are not used.
        track_record: dataset portfolio_track_record; the row of as_of is used.

    """
    by = ["sector", "ticker"]
    now = weights.filter(pl.col("as_of") == as_of).select(*by, "weight")
    earlier = weights.filter(pl.col("as_of") < as_of)
    before = earlier.filter(pl.col("as_of") == pl.col("as_of").max()).select(*by, "weight")
    change = pl.col("weight") - pl.col("weight_before").fill_null(0.0)
    holdings = now.join(before, on=by, how="left", suffix="_before").select(
        *by, "weight", change=change if len(before) else pl.lit(None, pl.Float64)
    )
    sectors = now.group_by("sector").agg(pl.col("weight").sum(), gross=pl.col("weight").abs().sum(), names=pl.len())
    sold = before.join(now, on=by, how="anti").sort(-pl.col("weight").abs(), "ticker")
    past = backtest.filter(pl.col("date") <= as_of).sort("date")
    record = track_record.filter(pl.col("as_of") == as_of)
    since = record["since"][0] if len(record) else None
    track = past.filter(pl.col("date") >= since) if since else past.clear()
    return PortfolioData(
        as_of,
        [{**row, "name": SECTORS[row["sector"]].name} for row in sectors.sort(-pl.col("gross"), "sector").to_dicts()],
        holdings.sort(-pl.col("weight").abs(), "ticker").to_dicts(),
        list(sold.select("ticker", "weight").iter_rows()),
        record.row(0, named=True) if len(record) else None,
        track.select("date", growth=(1.0 + pl.col("net_return")).cum_prod()),
    )


def render(data: PortfolioData, links: Sequence[tuple[str, str]] = (), market: str | None = None) -> bytes:
    """The page: one self-contained HTML file (UTF-8) without scripts, the same bytes for the same data.

    Args:
        data: content.
        links: title and relative address of the pages that belong to it.
        market: warning beside the title, for a simulated market.

    """
    picture = _growth_svg(data.track) if len(data.track) > 1 else None
    page = _templates().get_template("portfolio.html").render(data=data, links=links, market=market, picture=picture)
    return page.encode()


def render_index(title: str, pages: Mapping[str, Mapping[str, Iterable[tuple[str, str]]]]) -> bytes:
    """The list of pages: by month, newest first, then by kind, each with titles and relative addresses."""
    return _templates().get_template("index.html").render(title=title, pages=pages).encode()


def _growth_svg(track: pl.DataFrame) -> str:
    """Growth of 100 as an `<svg>` element, deterministic in the figures."""
    days, growth = track["date"].to_list(), (100.0 * track["growth"]).to_list()
    low, high = min(100.0, *growth), max(100.0, *growth)
    span = (high - low) or 1.0
    inner, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def y(value: float) -> float:
        return float(_TOP + tall * (high - value) / span)

    points = ((_LEFT + inner * at / (len(growth) - 1), y(value)) for at, value in enumerate(growth))
    path = "M" + "L".join(f"{x:.1f} {level:.1f}" for x, level in points)
    lines = "".join(
        f'<line x1="{_LEFT}" y1="{y(value):.1f}" x2="{_WIDTH - _RIGHT}" y2="{y(value):.1f}" class="grid"/>'
        f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.0f}</text>'
        for value in sorted({low, 100.0, high})
    )
    ends = (
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{days[0]}</text>'
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">{days[-1]}</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="growth of 100">{lines}<path d="{path}" class="line"/>{ends}</svg>'
    )


@cache
def _templates() -> jinja2.Environment:
    templates = environment("quant_assets.cli")
    templates.filters |= {"percent": percent, "number": number, "ratio": ratio}
    return templates
