"""Body of `quant weights`: the stored weights of a month, or those of several optimisers. Writes nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets.cli.candidates import nobody, refuse_later
from quant_assets.cli.screen import Empty
from quant_assets.errors import InfeasibleError, MissingPackageError
from quant_assets.market.calendar import decision_sessions, sessions
from quant_assets.market.panel import FloatArray, Panel
from quant_assets.market.sector_return import as_known
from quant_assets.partitions import key, month_end, month_range, month_start, months_covering, shift_month
from quant_assets.portfolio.covariances import covariance, risk_contributions
from quant_assets.portfolio.history import History, lookback_sessions
from quant_assets.portfolio.optimisers import OPTIMISERS, optimiser
from quant_assets.portfolio.weights import sector_weights
from quant_assets.profile import Profile
from quant_assets.settings.weights import Book, WeightSettings


def output(profile: Profile, sector: str, month: str) -> Iterator[str | Table | Empty]:
    """The stored weights.

    Raises:
        MissingPartitionError: the month has not been run.

    """
    stored = profile.store.read(profile.datasets["weights"], [key(sector, month)]).collect()
    refuse_later(profile, stored)
    if stored.is_empty():
        yield Empty(sector, month, "nothing is held")
        return
    table = _table("side", "rank", "ticker", "weight", "volatility", "score", left=("side", "ticker"))
    for row in stored.sort("rank").iter_rows(named=True):
        side = "short" if row["weight"] < 0.0 else "long"
        shown = (
            _percent(row["weight"]),
            _percent(row["volatility"]),
            "" if row["score"] is None else f"{row['score']:+.4f}",
        )
        table.add_row(side, str(row["rank"]), escape(row["ticker"]), *shown)
    yield f"{sector}, decided at the close of {stored['as_of'][0]}"
    yield table


@dataclass(frozen=True)
class _Held:
    """Result of an optimiser.

    Attributes:
        weights: by ticker, empty with an error.
        volatility: ex ante, per year.
        contributions: share of the variance by ticker.
        turnover: against the previous holdings; None if unknown.
        earned: return from the execution on; None without stored prices.
        error: why there are no weights.

    """

    weights: dict[str, float]
    volatility: float = 0.0
    contributions: dict[str, float] | None = None
    turnover: float | None = None
    earned: float | None = None
    error: str = ""


def compared(
    profile: Profile, sector: str, month: str, methods: Sequence[str], book: Book | None
) -> Iterator[str | Table | Empty]:
    """Several optimisers side by side, from the stored candidates, forecasts and prices.

    Args:
        profile: its storage is read; its settings apply otherwise.
        sector: slug.
        month: of the decision.
        methods: names of optimisers; empty for all.
        book: instead of that of the settings.

    Raises:
        MissingPartitionError: the month or one of its lookback has not been run; names it.
        SettingsError: an optimiser does not exist.

    """
    settings = profile.settings.weights
    choices = [_settings(settings, name, book) for name in methods or OPTIMISERS]
    for choice in choices:
        optimiser(choice)
    candidates = _read(profile, "candidates", sector, month, month)
    refuse_later(profile, candidates.with_columns(sector=pl.lit(sector), month=pl.lit(month)))
    if candidates.is_empty():
        yield Empty(sector, month, nobody(profile, sector, month))
        return
    as_of: date = candidates["as_of"][0]
    first = shift_month(
        month, -months_covering(max(lookback_sessions(_settings(settings, "minimum_variance", book)), 300))
    )
    first = max(first, profile.months.start)
    prices, universe = (_read(profile, name, sector, first, month) for name in ("prices", "universe"))
    indicators = _read(profile, "indicators", sector, first if settings.covariance.of_garch else month, month)
    days = sessions(month_start(first), min(month_end(month), profile.last_session()))
    history = History(prices, universe, indicators, days)
    predictions = _read(profile, "predictions", sector, month, month)
    lag = profile.settings.labels.entry_lag
    previous = _stored(profile, "weights", sector, [shift_month(month, -1)]).sort("ticker")
    before = _before(previous, history, as_of, lag)
    path, until = _ahead(profile, sector, month, as_of)
    results: dict[str, _Held] = {}
    for choice in choices:
        try:
            rows = sector_weights(candidates, predictions, indicators, [as_of], choice, history, previous, lag)
        except (InfeasibleError, MissingPackageError) as error:
            results[choice.method] = _Held({}, error=str(error))
            continue
        results[choice.method] = _held(rows, as_of, choice, history, before, path)
    estimator = settings.covariance.estimator
    yield f"{sector}, decided at the close of {as_of}; book {book or settings.book}, covariance {estimator}"
    yield _summary(results)
    if before is None:
        yield f"turnover: no weights of {shift_month(month, -1)} are stored"
    yield f"return: from the execution to the close of {until}, before costs" if until else "return: not known yet"
    yield from (f"{name}: {choice.error}" for name, choice in results.items() if choice.error)
    for title, shares in (
        ("weights", {name: choice.weights for name, choice in results.items() if not choice.error}),
        (
            "shares of the variance",
            {name: choice.contributions or {} for name, choice in results.items() if not choice.error},
        ),
    ):
        yield title
        yield _by_ticker(shares)


def _settings(settings: WeightSettings, method: str, book: Book | None) -> WeightSettings:
    return settings.model_copy(update={"method": method, "book": book or settings.book})


def _read(profile: Profile, name: str, sector: str, first: str, last: str) -> pl.DataFrame:
    keys = [key(sector, month) for month in month_range(first, last)]
    return profile.store.read(profile.datasets[name], keys).collect().drop("sector", "month")


def _stored(profile: Profile, name: str, sector: str, months: Sequence[str]) -> pl.DataFrame:
    """Rows of the stored ones among some months."""
    wanted = {key(sector, month) for month in months}
    stored = wanted - set(profile.store.missing(profile.datasets[name], wanted))
    return profile.store.read(profile.datasets[name], stored).collect().drop("sector", "month")


def _before(previous: pl.DataFrame, history: History, as_of: date, entry_lag: int) -> dict[str, float] | None:
    """The stored weights of the previous month after their drift; None if not stored."""
    if previous.is_empty():
        return None
    held = dict(previous.select("ticker", "weight").iter_rows())
    return history.drifted(held, previous["as_of"][0], as_of, entry_lag)


def _ahead(profile: Profile, sector: str, month: str, as_of: date) -> tuple[dict[str, float], date | None]:
    """Returns by name from the execution to the next one, and the last session; empty without stored prices."""
    lag = profile.settings.labels.entry_lag
    after = [month, shift_month(month, 1), shift_month(month, 2)]
    last = profile.last_session()
    days = sessions(as_of, min(month_end(after[-1]), last))
    following = [day for day in decision_sessions(month_start(after[1]), min(month_end(after[1]), last)) if day > as_of]
    end = len(days) - 1
    if following:
        end = min(int(np.searchsorted(days, np.datetime64(following[0]))) + lag, end)
    prices = as_known(_stored(profile, "prices", sector, after)).filter(pl.col("date") >= as_of)
    newest = prices["date"].max()
    if not isinstance(newest, date) or lag >= len(days) or newest <= days[lag].item():
        return {}, None
    end = min(end, int(np.searchsorted(days, np.datetime64(newest), side="right")) - 1)
    panel = Panel.from_long(prices, days, ["close"])
    path = panel["close"][:, lag : end + 1]
    earned = {}
    for (name, _), row in zip(panel.companies(), path, strict=True):
        sessions_with_close = np.flatnonzero(np.isfinite(row))
        if len(sessions_with_close) and sessions_with_close[0] == 0:  # without a bar at the execution it stays in cash
            earned[name] = float(row[sessions_with_close[-1]] / row[0] - 1.0)
    return earned, days[end].item()


def _held(
    rows: pl.DataFrame,
    as_of: date,
    settings: WeightSettings,
    history: History,
    before: dict[str, float] | None,
    path: dict[str, float],
) -> _Held:
    weights = dict(rows.sort("rank").select("ticker", "weight").iter_rows())
    names, values = list(weights), np.array(list(weights.values()))
    volatility, parts = 0.0, np.zeros(len(names))
    if names:
        estimate = settings.covariance
        window = history.window(names, as_of, estimate.sessions, volatility=estimate.of_garch)
        matrix = covariance(window, estimate)
        parts = risk_contributions(values, matrix)
        volatility = float(np.sqrt(max(parts.sum(), 0.0)))
        parts = parts / parts.sum() if parts.sum() > 0.0 else parts
    traded = None
    if before is not None:
        traded = sum(abs(weights.get(name, 0.0) - before.get(name, 0.0)) for name in sorted({*weights, *before}))
    earned = sum(weight * path.get(name, 0.0) for name, weight in weights.items()) if path else None
    return _Held(weights, volatility, dict(zip(names, parts.tolist(), strict=True)), traded, earned)


def _summary(results: dict[str, _Held]) -> Table:
    heads = ("method", "names", "long", "short", "volatility", "largest share of risk", "effective names", "turnover")
    table = _table(*heads, "return", left=("method", "largest share of risk"))
    for name, result in results.items():
        if result.error:
            table.add_row(name, *[""] * 8)
            continue
        shares = np.array(list((result.contributions or {}).values()))
        largest = max(
            result.contributions or {"": 0.0}, key=lambda ticker: (result.contributions or {}).get(ticker, 0.0)
        )
        table.add_row(
            name,
            str(len(result.weights)),
            _percent(sum(weight for weight in result.weights.values() if weight > 0.0)),
            _percent(-sum(weight for weight in result.weights.values() if weight < 0.0)),
            _percent(result.volatility),
            f"{escape(largest)} {shares.max(initial=0.0):.0%}",
            f"{_effective(shares):.1f}",
            _percent(result.turnover),
            "" if result.earned is None else f"{result.earned:+.2%}",
        )
    return table


def _effective(shares: FloatArray) -> float:
    """Effective number of names by risk: the inverse of the sum of squared shares."""
    return float(1.0 / (shares**2).sum()) if (shares != 0.0).any() else 0.0


def _by_ticker(shares: dict[str, dict[str, float]]) -> Table:
    table = _table("ticker", *(name.replace("_", " ") for name in shares), left=("ticker",))
    for ticker in sorted({name for weights in shares.values() for name in weights}):
        table.add_row(escape(ticker), *(_percent(weights.get(ticker)) for weights in shares.values()))
    return table


def _table(*names: str, left: Sequence[str]) -> Table:
    table = Table()
    for name in names:
        table.add_column(name, justify="left" if name in left else "right")
    return table


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
