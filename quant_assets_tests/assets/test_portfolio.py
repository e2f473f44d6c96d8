"""What the total portfolio reads: prices of its book from the estimates on, regimes only where one decides."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.asset_functions import Run
from quant_assets.assets.portfolio import portfolio_assets, portfolio_bars, portfolio_simulated
from quant_assets.backtest.simulation import Simulated, lookback_months
from quant_assets.errors import MissingPartitionError
from quant_assets.market.calendar import decision_sessions, sessions
from quant_assets.partitions import RunPartitions, key, month_end, month_range, month_start, shift_month
from quant_assets.profile import Profile
from quant_assets.schemas import DATASETS
from quant_assets.settings.loading import load_settings
from quant_assets.settings.trading import BacktestSettings

MONTHS = month_range("2020-01", "2023-06")
DAYS = sessions(month_start(MONTHS[0]), month_end(MONTHS[-1]))
NAMES = {"it": ("A", "B"), "energy": ("X", "Y"), "utilities": ("U",)}
FLAT, ITEMISED = BacktestSettings(), BacktestSettings(costs="itemised", capital=1e8)
#: X is decided about once and Y once, three months later; X is halted from the first decision's end on.
DECIDED = {"2022-08": {"A": 0.5, "B": 0.5}, "2022-09": {"A": 0.5, "X": 0.5}, "2022-12": {"B": 0.4, "Y": 0.6}}
HALT = (date(2022, 10, 28), date(2023, 5, 10))


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """Three sectors' prices over three and a half years, and no delistings."""
    folder: Path = tmp_path_factory.mktemp("portfolio")
    made = Profile(load_settings("demo", storage=str(folder), as_of=date(2023, 7, 31), partitions={"start": MONTHS[0]}))
    rng = np.random.default_rng(0)
    for sector, names in NAMES.items():
        frames = []
        for name in names:
            close = 50.0 * np.exp(np.cumsum(0.02 * rng.standard_normal(len(DAYS))))
            span = np.exp(np.abs(0.01 * rng.standard_normal(len(DAYS))))
            columns = {"open": close, "high": close * span, "low": close / span, "close": close}
            volume = rng.lognormal(17.0, 0.5, len(DAYS))
            frame = pl.DataFrame({"date": DAYS, **columns, "close_unadjusted": close, "dollar_volume": volume})
            frames.append(frame.with_columns(ticker=pl.lit(name)))
        rows = pl.concat(frames).with_columns(
            sector=pl.lit(sector),
            listed=pl.lit(DAYS[0].item()),
            volume=pl.lit(1e6),
            split_factor=1.0,
            unexplained=False,
            in_sector=True,
            panel_from="date",
        )
        rows = rows.filter(~((pl.col("ticker") == "X") & pl.col("date").is_between(*HALT)))
        for dataset, frame in (("prices", rows), ("delistings", DATASETS["delistings"].empty())):
            schema = DATASETS[dataset].empty().schema
            made.store.write(
                made.datasets[dataset],
                frame.select(list(schema)).cast(dict(schema)),  # type: ignore[arg-type]
                [key(sector, month) for month in MONTHS],
            )
    return made


def weights(first: str, last: str) -> pl.DataFrame:
    rows = [
        (sector, name, as_of, weight, f"{as_of:%Y-%m}")
        for as_of in decision_sessions(month_start(MONTHS[0]), month_end(MONTHS[-1]))
        for name, weight in DECIDED.get(f"{as_of:%Y-%m}", {}).items()
        for sector, names in NAMES.items()
        if name in names
    ]
    schema = {"sector": pl.String, "ticker": pl.String, "as_of": pl.Date, "weight": pl.Float64, "month": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.filter(pl.col("month").is_in(month_range(first, last)))


def asked(
    profile: Profile, settings: BacktestSettings, first: str, last: str
) -> tuple[Run, pl.DataFrame, list[pl.LazyFrame]]:
    """A run, its weights, and what is stored of prices and delistings in the months of its windows."""
    before = lookback_months(1, settings)
    run = Run(
        profile,
        RunPartitions((), tuple(month_range(first, last))),
        None,  # type: ignore[arg-type]
        dict.fromkeys(("portfolio_weights", "prices"), (-before, 0)),
    )
    window = month_range(max(shift_month(first, -before), MONTHS[0]), last)
    keys = [key(sector, month) for sector in NAMES for month in window]
    found = [profile.store.read(profile.datasets[name], keys) for name in ("prices", "delistings")]
    return run, weights(window[0], last), found


def bars(profile: Profile, settings: BacktestSettings, month: str) -> pl.DataFrame:
    run, decided, found = asked(profile, settings, month, month)
    return portfolio_bars(run, settings, 1, decided, *found)[0]


def result(profile: Profile, settings: BacktestSettings, first: str, last: str) -> Simulated:
    run, decided, found = asked(profile, settings, first, last)
    return portfolio_simulated(run, settings, 1, MONTHS[0], decided, *found)


def test_a_sectors_first_trades_are_estimated_from_the_months_before_its_first_decision(profile: Profile) -> None:
    prices = bars(profile, ITEMISED, "2022-10")
    assert set(prices["ticker"]) == {"A", "B", "X"}
    assert prices.filter(pl.col("ticker") == "X")["month"].min() == "2020-06"
    traded = result(profile, ITEMISED, "2022-10", "2022-10").outcome.trades
    own = traded.filter(pl.col("ticker") == "X").row(0, named=True)
    # Two basis points of half spread stand in for a missing estimate, and no impact for a missing volatility.
    assert own["half_spread"] != pytest.approx(0.0002 * own["traded"], rel=0.05)
    assert own["impact"] > 0.0


def test_what_could_not_be_sold_is_marked_when_it_trades_again(profile: Profile) -> None:
    """X is halted at the next decision's execution, and trades again seven months after its own."""
    prices = bars(profile, ITEMISED, "2023-05")
    assert prices.filter(pl.col("ticker") == "X")["date"].max() == date(2023, 5, 31)
    found = result(profile, ITEMISED, "2023-05", "2023-05")
    sold = found.outcome.trades.filter(pl.col("ticker") == "X")
    assert sold.select("date", "reason").rows() == [(date(2023, 5, 11), "carried")]


@pytest.mark.parametrize("settings", [FLAT, ITEMISED], ids=["flat", "itemised"])
def test_a_range_equals_its_months(profile: Profile, settings: BacktestSettings) -> None:
    whole = result(profile, settings, "2022-09", "2023-05")
    for month in month_range("2022-09", "2023-05"):
        single = result(profile, settings, month, month)
        of_month = pl.col("date").is_between(month_start(month), month_end(month))
        assert single.frame.equals(whole.frame.filter(of_month)), month
        for name in ("trades", "positions"):
            one, other = (getattr(each.outcome, name).filter(of_month) for each in (single, whole))
            assert one.equals(other), (month, name)


def test_a_sector_without_prices_where_it_may_be_held_is_an_error(profile: Profile, tmp_path: Path) -> None:
    other = Profile(profile.settings.model_copy(update={"storage": str(tmp_path)}))
    for sector in ("it", "energy"):
        months = [month for month in MONTHS if sector == "it" or not "2023-01" < month < "2023-05"]
        for dataset in ("prices", "delistings"):
            rows = profile.store.read(profile.datasets[dataset], [key(sector, month) for month in months]).collect()
            keys = [key(sector, month) for month in months]
            other.store.write(other.datasets[dataset], rows.drop("month"), keys)
    run = Run(other, RunPartitions((), ("2023-04",)), None, {})  # type: ignore[arg-type]
    decided = weights("2022-09", "2022-09")
    frames = [
        other.store.read(other.datasets[name], [key("it", month) for month in MONTHS])
        for name in ("prices", "delistings")
    ]
    portfolio_bars(run, FLAT, 1, decided, *frames)  # in closed form nothing of September is left in January
    with pytest.raises(MissingPartitionError, match=r"2023-02\|energy"):
        portfolio_bars(run, ITEMISED, 1, decided, *frames)


@pytest.mark.parametrize("regime", ["none", "sector", "market"])
def test_years_of_every_sectors_prices_are_asked_for_only_where_the_markets_regime_decides(regime: str) -> None:
    settings = load_settings("demo", portfolio={"exposure": {"regime": regime}})
    (found,) = (
        node
        for assets in portfolio_assets(Profile(settings))
        for node in assets.specs
        if node.key.path[-1] == "portfolio_weights"
    )
    read = {dependency.asset_key.path[-1] for dependency in found.deps}
    assert read == {"weights", "regime_state"} | ({"market_regime"} if regime == "market" else set())
