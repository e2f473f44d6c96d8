"""Reads a chart of Yahoo's: bars, dividends and splits as they were when they traded. No question is asked here.

Yahoo adjusts prices and volumes for every split up to the day of the request, and lists the splits in the requested
span. In a span that ends with that day every split is known, and is undone: price times ratio, volume and shares by
ratio. Data stored before a later split and data read after it are therefore the same.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.collectors.answers import Answer, Broken, Exhausted, Nothing, Refused
from quant_assets.collectors.http import Received
from quant_assets.collectors.tables import Table

_PRICES = ("open", "high", "low", "close")

#: As traded, in the prices' currency. Yahoo's values have 24 bits, and its volumes are whole numbers after the splits:
#: `price_error` and `volume_error` are the resulting largest errors.
BARS = Table(
    "bars",
    pl.Schema(
        {"ticker": pl.String, "date": pl.Date}
        | dict.fromkeys((*_PRICES, "volume", "price_error", "volume_error"), pl.Float64)
    ),
    ("ticker", "date"),
    dict.fromkeys(_PRICES, "price_error") | {"volume": "volume_error"},
)
#: On the ex-date: `dividend` and `capital_gain` in money per share of that day (`currency` null: that of the prices),
#: `split` in new shares per old one.
EVENTS = Table(
    "events",
    pl.Schema(
        {
            "ticker": pl.String,
            "date": pl.Date,
            "kind": pl.String,
            "amount": pl.Float64,
            "currency": pl.String,
            "amount_error": pl.Float64,
        }
    ),
    ("ticker", "date", "kind"),
    {"amount": "amount_error"},
)
#: An event's name in `LISTED`.
EVENT = pl.concat_str(pl.col("date").cast(pl.String), pl.lit(" "), "kind")
#: Sessions without a bar after a second request, and the reason.
GAPS = Table(
    "gaps", pl.Schema({"ticker": pl.String, "date": pl.Date, "why": pl.String}), ("ticker", "date"), of="missing"
)
#: Days with an answer of Yahoo on a ticker; for a request of the whole history, its first day.
ASKED = Table(
    "asked",
    pl.Schema({"ticker": pl.String, "on": pl.Date, "since": pl.Date}),
    ("ticker", "on", "since"),
    of="asked",
)
#: The events (`2026-06-15 split, …`; empty for none) in the span of an answer with bars or events: a stored event that
#: is not among them was withdrawn or moved. An answer without events may have left them out, with prices adjusted for
#: unlisted splits: it counts once another answer, on another day, has none either (`view`).
LISTED = Table(
    "listed",
    pl.Schema({"ticker": pl.String, "since": pl.Date, "through": pl.Date, "events": pl.String}),
    ("ticker",),
    of="asked",
)

#: Time after the end of a session until its bar is final.
SETTLED = timedelta(minutes=30)
#: A smaller split cannot be distinguished from a day's move: it is assumed to be in the prices.
_TELLING = float(np.log(1.4))
#: An older split is in the prices in any case.
_NEW = timedelta(days=7)


class Chart:
    """A chart in an answer.

    Args:
        ticker: expected ticker.
        result: `chart.result[0]`.
        fetched_at: UTC.

    Raises:
        ValueError, KeyError, TypeError, IndexError: it has another shape than known charts.

    """

    def __init__(self, ticker: str, result: Mapping[str, Any], fetched_at: datetime) -> None:
        meta = result["meta"]
        if str(meta["symbol"]).upper() != ticker or meta["dataGranularity"] != "1d":
            raise ValueError(f"a chart of {meta['symbol']} by {meta['dataGranularity']}")
        self.ticker, self.currency = ticker, str(meta["currency"])
        self._zone = ZoneInfo(meta["exchangeTimezoneName"])
        self._fetched_at = fetched_at
        period = meta["currentTradingPeriod"]["regular"]
        begun, ends = self._day(period["start"]), datetime.fromtimestamp(period["end"], self._zone)
        #: Last day whose session is over.
        self.last = begun if fetched_at >= ends + SETTLED else begun - timedelta(days=1)
        quotes = self._given(result)
        self._rows = quotes.filter(pl.col("date") <= self.last)
        events = result.get("events") or {}
        self._splits = sorted(
            (self._day(split["date"]), float(split["numerator"]) / float(split["denominator"]))
            for split in (events.get("splits") or {}).values()
        )
        if any(not 0 < ratio < np.inf for _, ratio in self._splits):
            raise ValueError("a split into no shares")
        self._adjusted = [(day, ratio) for day, ratio in self._splits if self._is_in_prices(quotes, day, ratio)]
        self._paid = self._payments(events)

    def bars(self) -> pl.DataFrame:
        """Bars of sessions that are over, as traded (`BARS`). Rows without a price are left out."""
        rows = self._rows.filter(pl.all_horizontal(pl.col(_PRICES).is_not_null()))
        factor = self._undone(rows["date"])
        units, columns = [], {}
        for name in _PRICES:
            columns[name], unit = _to_precision(rows[name].to_numpy() * factor)
            units.append(unit)
        shares = np.minimum(factor, 1.0)  # a whole number after a reverse split stands for many shares before
        error = np.where(shares < 1.0, 0.5 / shares + 0.5, 0.0)
        volume = pl.Series(np.rint(rows["volume"].to_numpy() / factor), dtype=pl.Float64).fill_nan(None)
        return rows.select("date").select(
            pl.lit(self.ticker).alias("ticker"),
            "date",
            *(pl.Series(name, values) for name, values in columns.items()),
            volume.alias("volume"),
            pl.Series("price_error", np.max(units, axis=0)),
            pl.Series("volume_error", error),
        )

    def events(self) -> pl.DataFrame:
        """Dividends, capital gains and splits on their own days (`EVENTS`), up to the last session that is over."""
        events: dict[tuple[date, str], tuple[float, str | None, float]] = {}
        for day, ratio in self._splits:
            events[day, "split"] = events.get((day, "split"), (1.0,))[0] * ratio, None, 0.0
        factors = self._undone(pl.Series([day for day, _ in self._paid], dtype=pl.Date))
        for (key, (amounts, currency)), factor in zip(self._paid.items(), factors, strict=True):
            # Yahoo's amounts after the splits have six decimals; the amount before them is exact to fewer places.
            unit = 10.0 ** np.ceil(np.log10(max(1.0, float(factor)))) * 1e-6
            units = sum(float(np.rint(amount * factor / unit)) for amount in amounts)
            events[key] = units / round(1 / unit), currency, unit * len(amounts)
        rows = [(self.ticker, day, kind, *values) for (day, kind), values in sorted(events.items()) if day <= self.last]
        return pl.DataFrame(rows, EVENTS.schema, orient="row")

    def listed(self, since: date) -> pl.DataFrame:
        """The events of the span since a day (`LISTED`); no row for a span without bars and events."""
        names = self.events().select(named=EVENT).to_series().to_list()
        rows = [(self.ticker, since, self.last, ", ".join(names))] if names or len(self._rows) else []
        return pl.DataFrame(rows, LISTED.schema, orient="row")

    def gaps(self, expected: Sequence[date]) -> pl.DataFrame:
        """The sessions without a bar, and the reason (`GAPS`)."""
        bars = self._rows.select("date", whole=pl.all_horizontal(pl.col(_PRICES).is_not_null()))
        why = pl.when(pl.col("whole").is_null()).then(pl.lit("no row")).otherwise(pl.lit("a row without prices"))
        sessions = pl.DataFrame({"date": list(expected)}, {"date": pl.Date})
        missing = sessions.join(bars, on="date", how="left").filter(~pl.col("whole").fill_null(value=False))
        return missing.select(pl.lit(self.ticker).alias("ticker"), "date", why.alias("why"))

    def _given(self, result: Mapping[str, Any]) -> pl.DataFrame:
        """Rows as received, including a running session, the last row of each day; none for an empty span."""
        times = result.get("timestamp") or []
        quote = result["indicators"]["quote"][0]
        values = {name: quote[name] if times else [] for name in (*_PRICES, "volume")}
        columns = {name: pl.Series(name, column, pl.Float64, strict=True) for name, column in values.items()}
        if any(len(column) != len(times) for column in columns.values()):
            raise ValueError("columns of different lengths")
        days = pl.from_epoch(pl.Series("date", times, pl.Int64), "s").dt.replace_time_zone("UTC")
        rows = days.dt.convert_time_zone(str(self._zone)).dt.date().to_frame().with_columns(columns.values())
        finite = [pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in columns]
        return rows.with_columns(finite).unique("date", keep="last", maintain_order=True).sort("date")

    def _payments(self, events: Mapping[str, Any]) -> dict[tuple[date, str], tuple[list[float], str | None]]:
        """Amounts as received and their currency (null: that of the prices), by ex-date and kind."""
        payments: dict[tuple[date, str], tuple[list[float], str | None]] = {}
        for kind, name in (("dividend", "dividends"), ("capital_gain", "capitalGains")):
            for payment in (events.get(name) or {}).values():
                day, currency = self._day(payment["date"]), payment.get("currency")
                other = currency if currency != self.currency else None
                amounts, before = payments.setdefault((day, kind), ([], other))
                if other != before:
                    raise ValueError(f"payments of {day} in {before or self.currency} and {other or self.currency}")
                amounts.append(float(payment["amount"]))
        return payments

    def _undone(self, days: pl.Series) -> NDArray[np.float64]:
        """Product of the ratios of the splits after each day that are in the prices."""
        factor = np.ones(len(days))
        for day, ratio in self._adjusted:
            factor *= np.where((days < day).to_numpy(), ratio, 1.0)
        return factor

    def _is_in_prices(self, quotes: pl.DataFrame, day: date, ratio: float) -> bool:
        """Whether prices before a split were adjusted for it: a new split is listed before it is in the prices.

        Unadjusted prices fall from the day before to the open by about the ratio. For a new split without a price
        since, this cannot be determined.

        Raises:
            ValueError: this cannot be determined.

        """
        rows = quotes.filter(pl.all_horizontal(pl.col("open", "close") > 0))
        before, after = rows.filter(pl.col("date") < day)["close"], rows.filter(pl.col("date") >= day)["open"]
        if after.is_empty() and not before.is_empty() and self._fetched_at.astimezone(self._zone).date() - day <= _NEW:
            raise ValueError(f"the split of {day} may be in the prices or not: there is none since")
        if abs(np.log(ratio)) < _TELLING or before.is_empty() or after.is_empty():
            return True
        fall = float(np.log(before[-1] / after[0]))
        return bool(abs(fall - np.log(ratio)) >= abs(fall))

    def _day(self, timestamp: float) -> date:
        return datetime.fromtimestamp(timestamp, self._zone).date()


def read_chart(ticker: str, received: Received, currency: str) -> Chart | Answer:
    """The chart in an answer, or another kind of answer where there is none.

    Args:
        ticker: requested ticker.
        received: the answer.
        currency: expected currency of its prices.

    """
    if received.status == 429:
        return Exhausted(received.shown)
    if received.status in (401, 403):
        remedy = "take a newer yfinance (pip install -U yfinance), or wait: Yahoo accepts its session no more"
        return Refused(f"status {received.status}: {received.shown}", remedy, "provider")
    try:
        body = json.loads(received.body)
        error = body["chart"]["error"]
        if error is not None:
            return _refusal(received, str(error["code"]), str(error["description"]))
        if received.status != 200:
            return Broken(f"status {received.status}: {received.shown}")
        (result,) = body["chart"]["result"]
        chart = Chart(ticker, result, received.fetched_at)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError, pl.exceptions.PolarsError) as fault:
        what = "not JSON" if isinstance(fault, json.JSONDecodeError) else f"no chart as it was ({_said(fault)})"
        return Broken(f"status {received.status}, {what}: {received.shown}")
    if chart.currency != currency:
        return Refused(
            f"its prices are in {chart.currency}, not {currency}",
            f"take {ticker} out of collecting.universe, or collect it where collecting.yahoo.currency is "
            f"{chart.currency}",
        )
    return chart


def _refusal(received: Received, code: str, description: str) -> Answer:
    if code == "Not Found":
        return Nothing(description)
    if received.status in (400, 422):
        return Refused(description, "correct the ticker, or collecting.since, where it is one of yours")
    return Broken(f"status {received.status}: {code}, {description}")


def _to_precision(prices: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Prices to the last decimal that 24 bits determine, and that decimal's unit.

    24 bits are off by at most 2**-24 of a price. A unit of four times that or more is exact whichever splits are
    undone: 0.001 at 751.19, 0.01 up to 41,943.
    """
    places = np.floor(-np.log10(np.maximum(np.abs(prices), 1e-9) * 2.0**-22))
    scale = 10.0 ** np.clip(places, 0, 9)
    return np.rint(prices * scale) / scale, 1.0 / scale


def _said(fault: Exception) -> str:
    text = " ".join(str(fault).split())[:80]
    return f"no {text}" if isinstance(fault, KeyError) else text or type(fault).__name__
