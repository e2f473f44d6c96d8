"""Assets crypto and sleeve_allocation on the real graph, over a made-up total portfolio and simulated coins."""

import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.market.calendar import decision_sessions, sessions
from quant_assets.market.crypto import sleeve_returns
from quant_assets.partitions import month_end, month_range, month_start
from quant_assets.planning.plan import Phase
from quant_assets.portfolio.sleeves import allocate, drifted, sleeve_allocation
from quant_assets.settings.trading import SleeveSettings
from quant_assets_tests.graph import Graph

FIRST, LAST = "2023-01", "2023-08"
MONTHS = month_range(FIRST, LAST)
#: Nothing is held before.
BEGUN = date(2023, 2, 15)
DAYS = sessions(month_start(FIRST), month_end(LAST))
#: By month; the fifth is not known.
MULTIPLIERS = [1.0, 1.0, 1.0, 1.2, None, 0.5, 0.5, 1.0]

pytestmark = pytest.mark.slow


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """A total portfolio that is in cash until `BEGUN`, and the market's regime by month."""
    found = Graph.at(tmp_path, as_of=date(2024, 6, 28), partitions={"start": "2023-01"})
    returns = 0.006 * np.random.default_rng(5).standard_normal(len(DAYS))
    backtest = pl.DataFrame({"date": DAYS, "net_return": returns}).with_columns(
        *(pl.lit(0.0).alias(each) for each in ("gross_return", "cost", "turnover", "equity", "cash")),
        net_return=pl.when(pl.col("date") >= BEGUN).then("net_return").otherwise(0.0),
        positions=(pl.col("date") >= BEGUN).cast(pl.Int32),
        unexplained=pl.lit(0, pl.Int32),
    )
    decisions = decision_sessions(month_start(FIRST), month_end(LAST))
    regime = pl.DataFrame(
        {"as_of": decisions, "risk_multiplier": MULTIPLIERS, "sectors": [11] * len(decisions)},
        schema_overrides={"sectors": pl.Int32},
    )
    for name, rows in (("portfolio_backtest", backtest), ("market_regime", regime)):
        dataset = found.datasets[name]
        columns = {each: dtype for each, dtype in dataset.schema.items() if each not in rows.columns}
        rows = rows.with_columns(pl.lit(None, dtype).alias(each) for each, dtype in columns.items())
        found.profile.store.write(dataset, rows, MONTHS, lambda each: found.profile.known_through(each[:7]))
    return found


def materialise(graph: Graph, *stretches: tuple[str, str]) -> None:
    for name in ("crypto", "sleeve_allocation"):
        for first, last in stretches:
            graph.materialise([name], tags=Phase((name,), first, last, ()).range_tags)


def files(graph: Graph) -> dict[str, bytes]:
    names = ("crypto/", "sleeve_allocation/", "exports/")
    return {path: content for path, content in graph.files().items() if path.startswith(names)}


def test_a_range_equals_its_months_and_each_decision_follows_from_what_is_held(graph: Graph) -> None:
    materialise(graph, (FIRST, LAST))
    ranged, rows = files(graph), graph.read("sleeve_allocation").sort("as_of")
    assert len(ranged) == 3 * len(MONTHS)
    root = Path(graph.profile.store.url)
    for name in ("crypto", "sleeve_allocation", "exports"):
        shutil.rmtree(root / name)
    materialise(graph, *((month, month) for month in MONTHS))
    assert files(graph) == ranged

    settings = SleeveSettings()
    bars = graph.profile.source.crypto(date(2024, 6, 28))
    assert (bars["date"].dt.weekday() > 5).any()
    backtest = graph.read("portfolio_backtest").sort("date").filter(pl.col("date") >= BEGUN)
    days = DAYS  # the profile begins with them
    coins = sleeve_returns(bars, settings.coins, days)
    stocks = np.full(len(days), np.nan)
    stocks[np.searchsorted(days, backtest["date"].to_numpy())] = backtest["net_return"].to_numpy()
    held = None
    for row, multiplier in zip(rows.iter_rows(named=True), MULTIPLIERS, strict=True):
        end = int(np.searchsorted(days, np.datetime64(row["as_of"]))) + 1
        found = allocate(stocks[:end], coins[:end], 1.0 if multiplier is None else multiplier, settings, held)
        assert [row[name] for name in ("equities", "crypto", "cash")] == pytest.approx(
            [found.equities, found.crypto, found.cash], abs=1e-12
        )
        assert (row["held_equities"], row["held_crypto"]) == pytest.approx(held or (None, None))
        assert (row["rebalanced"], row["multiplier"]) == (found.rebalanced, multiplier or 1.0)
        assert row["equities"] + row["crypto"] + row["cash"] == pytest.approx(1.0)
        after = [int(np.searchsorted(days, np.datetime64(each))) for each in rows["as_of"] if each > row["as_of"]]
        if after:
            grown = [np.prod(1.0 + np.nan_to_num(each[end : after[0] + 1])) - 1.0 for each in (stocks, coins)]
            held = drifted((found.equities, found.crypto), *grown)
    assert rows["equity_volatility"].null_count() == 3
    assert rows["crypto_volatility"].null_count() == 2
    assert rows["equities"].to_list()[:3] == [0.0] * 3
    assert rows["equities"].to_list()[-1] > 0.3
    assert rows["crypto"].to_list()[-1] > 0.0
    assert rows["crypto_risk"].max() <= settings.crypto_risk_budget + 1e-12  # type: ignore[operator]
    half, whole = (rows.filter(pl.col("multiplier") == each).row(-1, named=True) for each in (0.5, 1.0))
    assert half["equities"] + half["crypto"] < 0.6 * (whole["equities"] + whole["crypto"])
    assert rows["since"].unique().to_list() == [rows["as_of"][0]]


def test_a_sessions_bar_is_that_of_the_day_before(graph: Graph) -> None:
    graph.materialise(["crypto"], tags=Phase(("crypto",), "2023-06", "2023-07", ()).range_tags)
    rows = graph.read("crypto")
    assert set(rows["ticker"]) == {"BTC-USD", "ETH-USD"}
    assert rows["date"].unique().sort().to_list() == sessions(date(2023, 6, 1), date(2023, 7, 31)).tolist()
    assert (rows["date"] - rows["bar"]).unique().dt.total_days().to_list() == [1]
    given = graph.profile.source.crypto(date(2024, 1, 1)).rename({"date": "bar", "close": "told"})
    assert rows.join(given, on=["ticker", "bar"]).filter(pl.col("told") == pl.col("close")).height == len(rows)


def test_the_file_is_that_of_the_row(graph: Graph) -> None:
    materialise(graph, (FIRST, LAST))
    row = graph.read("sleeve_allocation").sort("as_of").row(-1, named=True)
    store = graph.profile.store
    found = json.loads(store.read_file(f"exports/sleeves/{LAST}/sleeve_allocation.json"))
    assert found == {
        "allocation": {name: row[name] for name in ("equities", "crypto", "cash")},
        "method": "erc",
        "date": row["as_of"].isoformat(),
        "metrics": {
            "equity_volatility": row["equity_volatility"],
            "crypto_volatility": row["crypto_volatility"],
            "estimated_portfolio_volatility": row["portfolio_volatility"],
        },
        "rebalance_threshold": 0.05,
    }
    assert graph.told["sleeve_allocation", LAST]["crypto"] == pytest.approx(row["crypto"], abs=1e-6)


def test_what_is_missing_is_told_and_an_unknown_regime_is_what_the_setting_says(graph: Graph) -> None:
    days, backtest, regime = DAYS, graph.read("portfolio_backtest"), graph.read("market_regime")
    settings, nothing = SleeveSettings(), graph.datasets["crypto"].empty()
    before = graph.datasets["sleeve_allocation"].empty()
    as_ofs = regime["as_of"].sort().to_list()
    row = sleeve_allocation(before, backtest, nothing, regime, days, as_ofs[-1], settings).row(0, named=True)
    assert row["reason"] == "crypto has too little history; no closes of crypto-currencies are given"
    assert (row["crypto"], row["crypto_volatility"]) == (0.0, None)
    assert row["equities"] > 0.5
    other = nothing.vstack(
        pl.DataFrame([("DOGE-USD", as_ofs[-1], 1.0, as_ofs[-2])], schema=nothing.schema, orient="row")
    )
    row = sleeve_allocation(before, backtest, other, regime, days, as_ofs[-1], settings).row(0, named=True)
    assert row["reason"].endswith("sleeves.coins has none of the symbols that are given: DOGE-USD")
    unknown = settings.model_copy(update={"unknown": 0.25})
    for known in (regime, regime.clear()):  # not known, and a market without a member
        found = sleeve_allocation(before, backtest, nothing, known, days, as_ofs[4], unknown)
        assert found["multiplier"].item() == 0.25
    free = settings.model_copy(update={"regime": "none"})
    found = sleeve_allocation(before, backtest, nothing, regime.clear(), days, as_ofs[5], free)
    assert found["multiplier"].item() == 1.0
