"""The orders of a session: from what is held to the weights that the ledger says, once, and from nothing later."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.assets.live import DAILY_ORDERS, DAILY_REPORT, DECISIONS
from quant_assets.errors import SettingsError
from quant_assets.exports import KILL_SWITCH
from quant_assets.graph import build_defs
from quant_assets.market.calendar import sessions
from quant_assets.partitions import month_end, month_of, month_range, month_start
from quant_assets.portfolio.orders import decided_orders
from quant_assets.profile import Profile
from quant_assets.running.daily import Daily
from quant_assets_tests.synthetic_live import DAYS, LAST, NAMES, days_last, live_settings, materialised, months_written

pytestmark = pytest.mark.slow
FIRST, DAY, END = "2024-03", DAYS[1], DAYS[2]
#: What the backtest holds from 24 June on, after its drift: 60 % in two names. The next session holds something else.
HELD = {"T00": 0.35, "T11": 0.25}


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """Months with four months of prices and the backtest's positions, the ledger's days, and orders of two of them."""
    folder = tmp_path_factory.mktemp("orders")
    profile = Profile(
        live_settings(folder, LAST, partitions={"start": FIRST}, live={"orders": True, "sectors": ["it"]})
    )
    months_written(profile, LAST, sectors=["it"])
    recorder = (build_defs(profile).resources or {})["parquet"].recorder
    rng = np.random.default_rng(2)
    for month in month_range(FIRST, month_of(LAST)):
        last = min(month_end(month), LAST)
        days = sessions(month_start(month), last)
        prices = pl.concat(
            pl.DataFrame({"date": days, "ticker": name, "close": 20.0 + place + rng.random(len(days))})
            for place, name in enumerate(NAMES)
        )
        close = pl.col("close")
        prices = prices.with_columns(
            listed=pl.lit(date(2020, 1, 2)),
            panel_from="date",
            close_unadjusted=2.0 * close,  # a split since then
            dollar_volume=5e7,
            split_factor=1.0,
            unexplained=False,
            in_sector=True,
            **dict.fromkeys(("open", "high", "low", "volume"), close),
        )
        kept = np.where(days <= np.datetime64(DAY), 1.0, 0.5)
        held = pl.concat(
            pl.DataFrame({"date": days, "ticker": name, "weight": weight * kept}) for name, weight in HELD.items()
        )
        whole = pl.DataFrame({"date": days, "cash": 1.0 - 0.6 * kept}).with_columns(
            positions=2,
            unexplained=0,
            equity=1.0,
            **dict.fromkeys(("gross_return", "cost", "net_return"), 0.0),
            turnover=0.0,
        )
        for name, rows in (("prices", prices), ("positions", held), ("backtest", whole)):
            dataset = profile.datasets[name]
            schema = dataset.empty().schema
            rows = rows.with_columns(
                pl.lit(None, kind).alias(each) for each, kind in schema.items() if each not in rows.columns
            )
            rows = rows.with_columns(sector=pl.lit("it")).select(list(schema)).cast(dict(schema))  # type: ignore[arg-type]
            known, made_by = days_last(last), recorder.made_by(name, {})
            profile.store.write(dataset, rows, [f"{month}|it"], lambda _, known=known: known, made_by)
    assert materialised(profile, DECISIONS, DAY, END, ["it"]) == (True, "")
    assert materialised(profile, DAILY_ORDERS, DAY, END, ["it"]) == (True, "")
    return profile


def told(profile: Profile, day: date, name: str = DAILY_ORDERS) -> pl.DataFrame:
    return profile.store.read(profile.every_dataset[name], [f"{day}|it"]).collect()


def exported(profile: Profile, day: date, name: str = "trades_to_execute.csv") -> pl.DataFrame:
    return pl.read_csv(profile.store.read_file(f"exports/orders/daily/it/{day}/{name}"))


def test_orders_lead_from_what_the_backtest_holds_to_the_sessions_weights(profile: Profile) -> None:
    rows, said = told(profile, DAY), told(profile, DAY, DECISIONS).filter(pl.col("item") == "weight")
    targets = dict(said.select("ticker", "value").iter_rows())
    quoted = profile.store.read(profile.datasets["prices"], ["2024-06|it"]).filter(pl.col("date") == DAY).collect()
    price = dict(quoted.select("ticker", "close_unadjusted").iter_rows())
    capital = profile.settings.orders.capital
    assert targets
    for row in rows.iter_rows(named=True):
        name = row["ticker"]
        assert row["held_quantity"] == np.floor(HELD.get(name, 0.0) * capital / price[name] + 1e-9)
        assert row["target_weight"] == targets.get(name, 0.0)
        assert row["price"] == price[name]
        aimed = np.floor(row["target_weight"] * capital / price[name] + 1e-9)
        assert row["target_quantity"] == (aimed if row["action"] != "hold" else row["held_quantity"])
        if name not in targets:
            assert (row["action"], row["target_quantity"], row["reason"]) == ("sell", 0.0, "exit")
    assert set(rows["ticker"]) == {*targets, *HELD}
    assert rows["target_quantity"].dot(rows["price"]) <= capital
    assert set(rows["late"]) == {4}
    assert set(rows["held_by"]) == {"backtest"}
    traded = rows.filter(pl.col("action") != "hold")
    assert exported(profile, DAY)["ticker"].to_list() == traded["ticker"].to_list()
    assert len(traded), "nothing would be shown"


def test_the_last_session_of_a_month_has_the_orders_of_the_month(profile: Profile) -> None:
    said = told(profile, END, DECISIONS).filter(pl.col("item") == "weight")
    frames = {
        name: profile.store.read(profile.datasets[name], ["2024-06|it"]).collect().drop("sector", "month")
        for name in ("positions", "backtest")
    }
    months = [f"{month}|it" for month in month_range(FIRST, "2024-06")]
    prices = profile.store.read(profile.datasets["prices"], months).collect().drop("sector", "month")
    settings = profile.settings
    expected = decided_orders(
        said.select("ticker", as_of="date", weight="value"),
        frames["positions"],
        frames["backtest"],
        prices,
        sessions(month_start(FIRST), END),
        END,
        settings.orders.capital,
        settings.orders,
        settings.backtest,
    )
    assert told(profile, END).select(expected.columns).equals(expected)


def test_what_was_said_stands_and_other_holdings_are_refused(profile: Profile) -> None:
    path = Path(profile.store.url) / DAILY_ORDERS
    before, files = {each.name: each.read_bytes() for each in path.rglob("*.parquet")}, exported(profile, DAY)
    assert materialised(profile, DAILY_ORDERS, DAY, DAY, ["it"]) == (True, "")
    assert {each.name: each.read_bytes() for each in path.rglob("*.parquet")} == before
    assert not materialised(profile, DAILY_ORDERS, date(2024, 6, 29), date(2024, 6, 29), ["it"])[0], "a Saturday"
    other = profile.settings.orders.model_copy(update={"capital": 2e6})
    richer = Profile(profile.settings.model_copy(update={"orders": other}))
    done, said = materialised(richer, DAILY_ORDERS, DAY, DAY, ["it"])
    assert not done
    assert f"daily_orders of {DAY}|it differ from the rows written before" in said
    assert exported(profile, DAY).equals(files), "what is to be carried out is what was said"
    assert {each.name: each.read_bytes() for each in path.rglob("*.parquet")} == before


@pytest.mark.nightly
def test_holdings_of_a_file_are_those_of_the_last_session_and_the_kill_switch_keeps_orders_in(
    profile: Profile, tmp_path: Path
) -> None:
    (tmp_path / "it.csv").write_text("ticker,quantity\nT03,1000\nT04,-200\n")
    live = profile.settings.live.model_copy(update={"holdings": str(tmp_path / "{sector}.csv")})
    by_file = Profile(profile.settings.model_copy(update={"live": live}))
    done, said = materialised(by_file, DAILY_ORDERS, DAY, DAY, ["it"])
    assert not done
    assert f"not those at the close of {DAY}" in said
    profile.store.write_file(KILL_SWITCH, json.dumps({"halted": True, "reason": "drill"}).encode())
    assert materialised(by_file, DECISIONS, LAST, LAST, ["it"]) == (True, "")
    assert materialised(by_file, DAILY_ORDERS, LAST, LAST, ["it"]) == (True, "")
    rows = told(profile, LAST)
    held = dict(rows.filter(pl.col("held_quantity") != 0.0).select("ticker", "held_quantity").iter_rows())
    assert held == {"T03": 1000.0, "T04": -200.0}
    assert set(rows["held_by"]) == {"file"}
    assert rows.filter(pl.col("action") != "hold").height > 2
    assert exported(profile, LAST).is_empty(), "halted"
    with pytest.raises(SettingsError, match=r"holdings/\{sector\}\.csv"):
        live_settings(tmp_path, live={"holdings": "mine.csv"})


def test_the_daily_run_says_orders_with_decisions_and_the_page_names_them(profile: Profile) -> None:
    daily, before = Daily(profile, build_defs(profile)), DAYS[0]
    found = {day: chains for day, chains, _ in daily.said([before, DAY])}
    assert [phase.assets for (phase,) in found[before]] == [(DECISIONS, DAILY_ORDERS)]
    assert found[DAY] == []
    assert materialised(profile, DAILY_REPORT, DAY, DAY)[0]
    page = profile.store.read_file(f"artifacts/{DAILY_REPORT}/{DAY}/report.html").decode()
    first = told(profile, DAY).filter(pl.col("action") == "sell")["ticker"][0]
    assert f'<td class="name">sell</td><td class="name">{first}</td>' in page
