"""Publications of the simulated market: quarterly statements and macro series, as whole frames.

Prices are in `demo_market`.
"""

from datetime import date

import numpy as np
import polars as pl

from quant_assets.sources.base import MACRO, STATEMENTS
from quant_assets.sources.demo_draws import FloatArray, Stream, normals, traits, uniforms
from quant_assets.sources.demo_events import WARM_UP, BoolArray, DateArray, IntArray
from quant_assets.sources.demo_market import Market

#: How long before a ticker's first bar its statements begin: growth over a year needs eight quarters, and the newest is
#: not out yet.
HISTORY = np.timedelta64(27 * 31, "D")
_FLOWS = (
    "revenue",
    "gross_profit",
    "operating_income",
    "net_income",
    "depreciation",
    "operating_cash_flow",
    "capital_expenditure",
)
_RESTATED, _UNDATED = 0.03, 0.01
_TAX, _INTEREST = 0.21, 0.05


def statements(world: Market) -> pl.DataFrame:
    """Every statement of the simulation, future ones included (`STATEMENTS`), sorted by ticker, period and version.

    A few statements have no day of publication, a few are restated months later. A listing publishes two years at once.
    """
    seed, sessions, schedule, total = world.settings.seed, world.sessions, world.schedule, len(world.tickers)
    ends = (np.arange(np.datetime64(WARM_UP, "M") + 3, sessions[-1].astype("datetime64[M]") + 1, 3)).astype(
        "datetime64[D]"
    ) - 1
    at = np.searchsorted(sessions, ends, side="right") - 1
    values = _figures(world, seed, at)

    usual_lag = traits(seed, 3).integers(25, 48, total).astype("timedelta64[D]")
    luck = uniforms(seed, Stream.PUBLICATIONS, len(ends), 4 * total).reshape(len(ends), 4, total)
    listed = _day(sessions, schedule.listed)
    founding = np.ones(total, dtype=bool)
    founding[schedule.late] = False
    last = _day(sessions, schedule.last)

    period = np.broadcast_to(ends[:, None], (len(ends), total))
    published = _weekday(period + (usual_lag + (11 * luck[:, 0]).astype("timedelta64[D]")))
    # A prospectus gives the statements of the two years before a listing, all on its day.
    published = np.where(founding, published, np.maximum(published, listed))
    undated = founding & (luck[:, 1] < _UNDATED)
    kept = (period >= listed - HISTORY) & (np.where(undated, period, published) <= last)

    again = _weekday(published + (60 + 180 * luck[:, 2]).astype("timedelta64[D]"))
    # Shares are those of the period's end; a restatement after a split would have to restate them, so there is none.
    splits = np.cumsum(world.split_ratio != 1, axis=0)
    until = np.searchsorted(sessions, again, side="right") - 1
    split_between = np.take_along_axis(splits, until, axis=0) != splits[at]
    restated = kept & founding & ~undated & (luck[:, 3] < _RESTATED) & (again <= last) & ~split_between
    factor = 1 + 0.08 * normals(seed, Stream.RESTATEMENTS, len(ends), total)

    def frame(mask: BoolArray, version: int, known: DateArray, scale: FloatArray | float) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "ticker": np.broadcast_to(np.array(world.tickers, dtype=object), mask.shape)[mask].tolist(),
                "period_end": period[mask],
                "frequency": ["quarterly"] * int(mask.sum()),
                "published": known[mask],
                "version": np.full(int(mask.sum()), version, dtype=np.int32),
                "restated_on": [None] * int(mask.sum()),
                "provider": ["demo"] * int(mask.sum()),
            }
            | {name: np.round((array * scale if name in _FLOWS else array)[mask]) for name, array in values.items()},
            schema=STATEMENTS,
        )

    first = frame(kept, 0, np.where(undated, np.datetime64("NaT"), published), 1.0)
    return pl.concat([first, frame(restated, 1, again, factor)]).sort("ticker", "period_end", "version")


def _figures(world: Market, seed: int, at: IntArray) -> dict[str, FloatArray]:
    """Figures of each fiscal quarter, arrays of shape (n_quarters, n_tickers); `at` is the last session of each.

    The book follows the market value slowly, so that book to market neither drifts off nor repeats the price. The
    return on equity carries the characteristic at the end of the quarter with noise, and with it net income, margins
    and the earnings yield; tickers of high characteristic also have less debt. Cash flows follow net income.
    """
    total = len(world.tickers)
    fixed = traits(seed, 4)
    price_to_book = np.exp(fixed.normal(np.log(2.6), 0.2, total))
    profitability = fixed.normal(0.13, 0.015, total)
    sales = fixed.uniform(1.2, 1.8, total)
    overhead = fixed.uniform(0.12, 0.25, total)
    leverage = np.exp(fixed.normal(np.log(0.5), 0.2, total))
    # Splits before the first bar are not visible, so earlier statements count shares as of the first bar.
    new_for_old = np.cumprod(world.split_ratio, axis=0)
    listed = np.minimum(np.maximum(at[:, None], world.schedule.listed), len(world.sessions) - 1)
    shares = world.shares[at] * np.take_along_axis(new_for_old, listed, axis=0) / new_for_old[at]
    noise = normals(seed, Stream.STATEMENTS, len(at), 4 * total).reshape(len(at), 4, total)

    value = np.log(world.close[at] * world.shares[at])
    book = np.empty_like(value)
    book[0] = value[0] - np.log(price_to_book) + 0.2 * noise[0, 0]
    for quarter in range(1, len(at)):
        book[quarter] = (
            book[quarter - 1]
            + 0.12 * (value[quarter] - np.log(price_to_book) - book[quarter - 1])
            + 0.02 * noise[quarter, 0]
        )
    equity = np.exp(book)
    return_on_equity = profitability + 0.06 * (world.characteristic[at] + 0.4 * noise[:, 1])
    net_income = equity * return_on_equity / 4
    revenue = equity * sales / 4 * np.exp(0.05 * noise[:, 2])
    debt = equity * leverage * np.exp(-0.3 * world.characteristic[at] + 0.1 * noise[:, 3])
    operating_income = net_income / (1 - _TAX) + debt * _INTEREST / 4
    gross_profit = operating_income + overhead * revenue
    # Fixed assets wear off at 4 to 8 % of the book a year and are replaced a little faster than that.
    cash_noise = normals(seed, Stream.CASH_FLOWS, len(at), 3 * total).reshape(len(at), 3, total)
    wear = traits(seed, 5).uniform(0.04, 0.08, total)
    depreciation = equity * wear / 4
    operating_cash_flow = net_income + depreciation + 0.01 * equity / 4 * cash_noise[:, 0]
    capital_expenditure = -1.1 * depreciation * np.exp(0.15 * cash_noise[:, 1])
    cash = 0.25 * equity * np.exp(0.1 * cash_noise[:, 2])
    return {
        "revenue": np.maximum(revenue, gross_profit),
        "gross_profit": gross_profit,
        "operating_income": operating_income,
        "net_income": net_income,
        "total_assets": equity * 1.6 + debt,
        "total_equity": equity,
        "total_debt": debt,
        "shares": shares,
        "depreciation": depreciation,
        "operating_cash_flow": operating_cash_flow,
        "capital_expenditure": capital_expenditure,
        "cash": cash,
    }


def macro_observations(world: Market) -> pl.DataFrame:
    """Every macro observation of the simulation, future ones included (`MACRO`).

    Daily series (a ten-year yield and a volatility index) carry a lag in place of a release date. Monthly ones have
    release dates; industrial production is revised a month after its first release, as a second row.
    """
    seed, sessions = world.settings.seed, world.sessions
    months = np.arange(np.datetime64(WARM_UP, "M"), sessions[-1].astype("datetime64[M]") + 1)
    monthly = normals(seed, Stream.MACRO_MONTHLY, len(months), 5)
    days = uniforms(seed, Stream.MACRO_RELEASES, len(months), 4)
    daily = normals(seed, Stream.MACRO_DAILY, len(sessions), 2)

    funds, jobless = np.empty(len(months)), np.empty(len(months))
    rate, unemployment = 1.0, 4.5
    for month, draw in enumerate(monthly):
        rate += 0.02 * (2.5 - rate) + 0.2 * draw[0]
        unemployment += 0.03 * (4.5 - unemployment) + 0.12 * draw[1]
        funds[month], jobless[month] = max(0.25 * round(4 * rate), 0.0) + 0.08, max(unemployment, 2.5)
    prices = 238.0 * np.exp(np.cumsum(0.002 + 0.0015 * monthly[:, 2]))
    production = 101.0 * np.exp(np.cumsum(0.0008 + 0.006 * monthly[:, 3]))

    month_of = np.searchsorted(months, sessions.astype("datetime64[M]"), side="right") - 1
    ten_year = np.empty(len(sessions))
    level = 2.3
    for session, draw in enumerate(daily[:, 0]):
        level = max(level + 0.004 * (funds[month_of[session]] + 1.0 - level) + 0.045 * draw, 0.4)
        ten_year[session] = level
    volatility = 115 * np.sqrt(252 * world.market_variance) * np.exp(0.05 * daily[:, 1])

    def monthly_series(
        name: str, values: FloatArray, release: tuple[int, int], stream: int, later: int = 1
    ) -> pl.DataFrame:
        """Released on a weekday of the month `later` months after the period, between two days of that month."""
        first, last = release
        day: DateArray = (months + later).astype("datetime64[D]") + (
            first - 1 + (last - first + 1) * days[:, stream]
        ).astype(np.int64)
        return _series(name, months.astype("datetime64[D]"), _weekday(day), 30 * later + last, values)

    return pl.concat(
        [
            _series("DGS10", sessions, None, 1, ten_year.round(2)),
            _series("VIXCLS", sessions, None, 1, volatility.round(2)),
            monthly_series("FEDFUNDS", funds.round(2), (1, 3), 0),
            monthly_series("UNRATE", jobless.round(1), (2, 8), 1),
            monthly_series("CPIAUCSL", prices.round(3), (10, 14), 2),
            monthly_series("INDPRO", (production * np.exp(0.002 * monthly[:, 4])).round(4), (15, 18), 3),
            monthly_series("INDPRO", production.round(4), (15, 18), 3, later=2),
        ]
    )


def _series(
    name: str, period: DateArray, released: DateArray | None, lag_days: int, values: FloatArray
) -> pl.DataFrame:
    return (
        pl.DataFrame({"period": period, "value": values})
        .select(
            series_id=pl.lit(name),
            period=pl.col("period").cast(pl.Date),
            released=pl.lit(None, pl.Date) if released is None else pl.Series(released).cast(pl.Date),
            lag_days=pl.lit(lag_days, pl.Int32),
            value="value",
        )
        .cast(MACRO)
    )


def _day(sessions: DateArray, positions: IntArray) -> DateArray:
    """Dates of positions of sessions; those past the end lie in a far future."""
    known = sessions[np.minimum(positions, len(sessions) - 1)]
    return np.where(positions < len(sessions), known, np.datetime64(date(9999, 1, 1)))


def _weekday(days: DateArray) -> DateArray:
    """The day itself, or the Monday after a weekend."""
    weekday: DateArray = np.busday_offset(days, 0, roll="forward")
    return weekday
