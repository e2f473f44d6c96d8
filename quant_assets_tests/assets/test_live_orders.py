"""The orders of a session: from what is held to the weights that the ledger says, once, and from nothing later."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from quant_assets.assets.live import DAILY_ORDERS, DAILY_REPORT, DECISIONS
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


def written(folder: Path, **live: Any) -> Profile:
    """Months of two sectors with four months of prices, and of `it` the backtest's positions."""
    settings = live_settings(folder, LAST, partitions={"start": FIRST}, live={"orders": True, **live})
    profile = Profile(settings)
    months_written(profile, LAST)
    recorder = (build_defs(profile).resources or {})["parquet"].recorder
    rng = np.random.default_rng(2)
    for month in month_range(FIRST, month_of(LAST)):
        days = sessions(month_start(month), min(month_end(month), LAST))
        prices = pl.concat(
            pl.DataFrame({"date": days, "ticker": name, "close": 20.0 + place + rng.random(len(days))})
            for place, name in enumerate(NAMES)
        )
        traded = pl.col("close") * 2.0  # a split since then
        prices = prices.with_columns(
            **dict.fromkeys(("open", "high", "low"), pl.col("close")), close_unadjusted=traded, volume=1e6
        ).with_columns(dollar_volume=5e7, split_factor=1.0, unexplained=False, in_sector=True, panel_from="date")
        prices = prices.with_columns(listed=pl.lit(date(2020, 1, 2)))
        held = pl.DataFrame(
            [
                (day, name, weight * (1.0 if day <= DAY else 0.5))
                for day in days.tolist()
                for name, weight in HELD.items()
            ],
            schema=["date", "ticker", "weight"],
            orient="row",
        )
        whole = pl.DataFrame({"date": days, "cash": np.where(days <= np.datetime64(DAY), 0.4, 0.7)}).with_columns(
            *(
                pl.lit(0.0).alias(name)
                for name in ("gross_return", "cost", "net_return", "turnover", "benchmark_return")
            ),
            equity=1.0,
            positions=2,
            unexplained=0,
        )
        for name, rows in (("prices", prices), ("positions", held), ("backtest", whole)):
            schema = profile.datasets[name].empty().schema
            more = [pl.lit(None, dtype).alias(each) for each, dtype in schema.items() if each not in rows.columns]
            rows = rows.with_columns(*more).with_columns(sector=pl.lit("it"))
            last = min(month_end(month), LAST)
            profile.store.write(
                profile.datasets[name],
                rows.select(list(schema)).cast(dict(schema)),  # type: ignore[arg-type]
                [f"{month}|it"],
                lambda _, last=last: days_last(last),
                recorder.made_by(name, {}),
            )
    assert materialised(profile, DECISIONS, DAYS[0], LAST, ["it"]) == (True, "")
    return profile


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    return written(tmp_path / "storage")


def told(profile: Profile, day: date, name: str = DAILY_ORDERS) -> pl.DataFrame:
    return profile.store.read(profile.every_dataset[name], [f"{day}|it"]).collect()


def exported(profile: Profile, day: date, name: str = "trades_to_execute.csv") -> pl.DataFrame:
    return pl.read_csv(profile.store.read_file(f"exports/orders/daily/it/{day}/{name}"))


def test_orders_lead_from_what_the_backtest_holds_to_the_sessions_weights(profile: Profile) -> None:
    assert materialised(profile, DAILY_ORDERS, DAY, END, ["it"]) == (True, "")
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
        if name not in targets:
            assert (row["action"], row["target_quantity"], row["reason"]) == ("sell", 0.0, "exit")
    assert set(rows["ticker"]) == {*targets, *HELD}
    assert rows["target_quantity"].dot(rows["price"]) <= capital
    assert set(rows["late"]) == {4}
    assert set(rows["held_by"]) == {"backtest"}
    traded = rows.filter(pl.col("action") != "hold")
    assert exported(profile, DAY)["ticker"].to_list() == traded["ticker"].to_list()
    assert len(traded) > 2


def test_the_last_session_of_a_month_has_the_orders_of_the_month(profile: Profile) -> None:
    assert materialised(profile, DAILY_ORDERS, END, END, ["it"]) == (True, "")
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
    assert materialised(profile, DAILY_ORDERS, DAY, END, ["it"])[0]
    path = Path(profile.store.url) / DAILY_ORDERS
    before = {each.name: each.read_bytes() for each in path.rglob("*.parquet")}
    assert materialised(profile, DAILY_ORDERS, DAY, DAY, ["it"]) == (True, "")
    assert {each.name: each.read_bytes() for each in path.rglob("*.parquet")} == before
    assert materialised(profile, DAILY_ORDERS, date(2024, 6, 29), date(2024, 6, 29), ["it"])[1].endswith("--as-of DAY")
    other = profile.settings.orders.model_copy(update={"capital": 2e6})
    richer = Profile(profile.settings.model_copy(update={"orders": other}))
    done, said = materialised(richer, DAILY_ORDERS, DAY, DAY, ["it"])
    assert not done
    assert f"daily_orders of {DAY}|it said otherwise" in said
    assert {each.name: each.read_bytes() for each in path.rglob("*.parquet")} == before


def test_a_file_of_holdings_speaks_of_the_last_session_alone_and_the_kill_switch_keeps_orders_in(
    tmp_path: Path,
) -> None:
    (tmp_path / "it.csv").write_text("ticker,quantity\nT03,1000\nT04,-200\n")
    profile = written(tmp_path / "storage", holdings=str(tmp_path / "{sector}.csv"))
    done, said = materialised(profile, DAILY_ORDERS, DAY, DAY, ["it"])
    assert not done
    assert f"not at the close of {DAY}" in said
    profile.store.write_file(KILL_SWITCH, json.dumps({"halted": True, "reason": "drill"}).encode())
    assert materialised(profile, DAILY_ORDERS, LAST, LAST, ["it"]) == (True, "")
    rows = told(profile, LAST)
    held = dict(rows.select("ticker", "held_quantity").iter_rows())
    assert {name: quantity for name, quantity in held.items() if quantity} == {"T03": 1000.0, "T04": -200.0}
    assert set(rows["held_by"]) == {"file"}
    assert rows.filter(pl.col("action") != "hold").height > 2
    assert exported(profile, LAST).is_empty(), "halted"
    with pytest.raises(ValidationError, match=r"holdings/\{sector\}\.csv"):
        live_settings(tmp_path, live={"holdings": "mine.csv"})


def test_the_daily_run_says_orders_with_decisions_and_the_page_names_them(profile: Profile) -> None:
    daily = Daily(profile, build_defs(profile))
    ((_, chains, _),) = daily.said([DAY])
    assert [(phase.assets, phase.sectors) for (phase,) in chains] == [
        ((DECISIONS, DAILY_ORDERS), ("healthcare",)),
        ((DAILY_ORDERS,), ("it",)),
    ]
    assert materialised(profile, DAILY_ORDERS, DAY, DAY, ["it"])[0]
    ((_, chains, _),) = daily.said([DAY])
    assert [phase.sectors for (phase,) in chains] == [("healthcare",)]
    assert materialised(profile, DAILY_REPORT, DAY, DAY)[0]
    page = profile.store.read_file(f"artifacts/{DAILY_REPORT}/{DAY}/report.html").decode()
    first = told(profile, DAY).filter(pl.col("action") == "sell")["ticker"][0]
    assert f'<td class="name">sell</td><td class="name">{first}</td>' in page
