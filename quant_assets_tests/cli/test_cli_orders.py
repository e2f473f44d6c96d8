"""`quant orders`, `capacity`, `turnover` and `sleeves` on weights, positions and prices made by hand."""

import json
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.exports import KILL_SWITCH, export_orders, halt_reason
from quant_assets.io.store import DatasetStore
from quant_assets.market.calendar import sessions
from quant_assets.partitions import month_range
from quant_assets.schemas import DATASETS
from quant_assets_tests.command import Quant

AS_OF = date(2024, 6, 28)
DAYS = sessions(date(2024, 1, 2), AS_OF)


def rows_of(name: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    dataset = DATASETS[name]
    return pl.DataFrame(rows, schema=dataset.empty().schema)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetStore:
    """Half a year of three names, of which two are wanted and two are held."""
    for name, value in (("QUANT__STORAGE", str(tmp_path)), ("QUANT__AS_OF", "2024-08-30")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("QUANT__PARTITIONS__START", "2024-01")
    store = DatasetStore(str(tmp_path / "demo"))
    rng = np.random.default_rng(0)
    bars = []
    for name, level in (("AAA", 100.0), ("BBB", 50.0), ("CCC", 20.0)):
        closes = level * np.exp(np.cumsum(0.01 * rng.standard_normal(len(DAYS))))
        for day, close in zip(DAYS.tolist(), closes.tolist(), strict=True):
            bar = {
                "open": close,
                "high": 1.01 * close,
                "low": 0.99 * close,
                "close": close,
                "close_unadjusted": 2 * close,
            }
            fixed = {"listed": DAYS[0].item(), "volume": 1e6, "dollar_volume": 2e6 * close, "split_factor": 1.0}
            place = {"in_sector": True, "panel_from": day, "unexplained": False, "sector": "it"}
            bars.append({"ticker": name, "date": day, **bar, **fixed, **place})
    months = month_range("2024-01", "2024-06")
    keys = [f"{month}|it" for month in months]
    store.write(DATASETS["prices"], rows_of("prices", bars), keys)
    result = {"net_return": 0.0, "gross_return": 0.0, "cost": 0.0, "turnover": 0.0, "equity": 1.0, "unexplained": 0}
    held = {"sector": "it", "date": AS_OF}
    store.write(
        DATASETS["backtest"], rows_of("backtest", [{**held, **result, "positions": 2, "cash": 0.0}]), ["2024-06|it"]
    )
    store.write(
        DATASETS["positions"],
        rows_of("positions", [{**held, "ticker": "AAA", "weight": 0.5}, {**held, "ticker": "CCC", "weight": 0.5}]),
        keys,
    )
    fill = {"sector": "it", "score": 0.1, "score_source": "prediction", "volatility": 0.2}
    store.write(
        DATASETS["weights"],
        rows_of(
            "weights",
            [
                {**fill, "as_of": as_of, "ticker": name, "weight": 0.5, "rank": rank}
                for month in months
                for as_of in [[day for day in DAYS.tolist() if f"{day:%Y-%m}" == month][-1]]
                for rank, name in enumerate(("AAA", "BBB"), 1)
            ],
        ),
        keys,
    )
    store.write(DATASETS["delistings"], DATASETS["delistings"].empty(), keys)
    return store


@pytest.fixture
def orders(store: DatasetStore, command: Quant) -> Quant:
    return partial(command, "orders", "--sector", "it", "--month", "2024-06")


def test_from_what_the_backtest_holds(orders: Quant, tmp_path: Path) -> None:
    status, out, err = orders("--capital", "1000000")
    assert (status, err) == (0, "")
    found = {
        row["ticker"]: (row["action"], row["reason"])
        for row in [
            dict(zip(["ticker", "action", "reason"], [cells[0], cells[1], cells[-1]], strict=True))
            for cells in [
                [cell.strip() for cell in line.strip("│").split("│")]
                for line in out.splitlines()
                if line.startswith("│")
            ]
        ]
    }
    assert found["BBB"] == ("buy", "new") or found["BBB"][0] == "buy"
    assert found["CCC"][0] == "sell"
    folder = tmp_path / "demo" / "exports" / "orders" / "it" / "2024-06-28"
    assert sorted(path.name for path in folder.iterdir()) == ["allocation.csv", "signals.csv", "trades_to_execute.csv"]
    trades = pl.read_csv(folder / "trades_to_execute.csv")
    assert trades.columns == ["ticker", "action", "quantity", "notional", "reason", "estimated_cost"]
    assert dict(trades.select("ticker", "reason").iter_rows())["CCC"] == "exit"
    allocation = pl.read_csv(folder / "allocation.csv")
    assert allocation["weight"].sum() <= 1.0
    assert dict(pl.read_csv(folder / "signals.csv").select("ticker", "signal").iter_rows()) == {
        "AAA": "long",
        "BBB": "long",
        "CCC": "exit",
    }


def test_positions_without_what_the_backtest_holds_are_no_empty_book(orders: Quant, store: DatasetStore) -> None:
    store.write(DATASETS["positions"], DATASETS["positions"].empty(), ["2024-06|it"])
    status, out, err = orders()
    assert (status, out) == (1, "")
    assert "the backtest holds 2 names" in err.replace("\n", " ")


def test_from_a_file_into_a_folder(orders: Quant, tmp_path: Path) -> None:
    (tmp_path / "held.csv").write_text("Ticker,quantity\nAAA,100\n\nCCC,7\n", encoding="utf-8")
    status, out, _ = orders("--holdings", str(tmp_path / "held.csv"), "--export", str(tmp_path / "out"))
    assert status == 0, out
    trades = pl.read_csv(tmp_path / "out" / "trades_to_execute.csv")
    assert dict(trades.select("ticker", "action").iter_rows()) == {"AAA": "buy", "BBB": "buy", "CCC": "sell"}
    assert dict(trades.select("ticker", "quantity").iter_rows())["CCC"] == 7.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ticker,shares\nAAA,1\n", "line 1: no column 'quantity'"),
        ("ticker,quantity\nAAA,1\nBBB,many\n", "line 3: quantity 'many' of BBB is no number"),
        ("ticker,quantity\nAAA,1\nAAA,2\n", "line 3: AAA is listed twice"),
        ("ticker,quantity\n,5\n", "line 2: no ticker"),
        ("ticker,quantity\nAAA,inf\n", "line 2: quantity 'inf' of AAA"),
        (None, "does not exist"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_its_line(
    orders: Quant, tmp_path: Path, text: str | None, says: str
) -> None:
    path = tmp_path / "held.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    status, _, err = orders("--holdings", str(path))
    assert status == 1
    assert f"{path}" in err.replace("\n", "")
    assert says in err


def test_the_kill_switch_and_the_setting_halt_the_output(
    orders: Quant, store: DatasetStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert halt_reason(store, "") is None
    rows = pl.DataFrame(
        [("AAA", "buy", 1.0, 9.0, "increase", 0.1, 9.0, 9.0, 1.0, 2.0, 0.5)],
        schema=[
            "ticker",
            "action",
            "quantity",
            "notional",
            "reason",
            "estimated_cost",
            "price",
            "last_price",
            "held_quantity",
            "target_quantity",
            "target_weight",
        ],
        orient="row",
    )
    written = tmp_path / "demo" / "exports" / "orders" / "it" / "trades_to_execute.csv"
    export_orders(store, "it", rows, 1e6, "")
    assert len(written.read_text(encoding="utf-8").splitlines()) == 2
    for state, says in (
        ({"halted": True, "reason": "daily loss of 4 %"}, "the kill switch is engaged: daily loss of 4 %"),
        ({"reason": "?"}, "does not say whether the kill switch is engaged"),
        ([], "does not say whether"),
    ):
        store.write_file(KILL_SWITCH, json.dumps(state).encode())
        status, out, err = orders()
        assert (status, out) == (1, "")
        assert says in err
        export_orders(store, "it", rows, 1e6, "")
        assert len(written.read_text(encoding="utf-8").splitlines()) == 1
    store.write_file(KILL_SWITCH, json.dumps({"halted": False}).encode())
    assert orders()[0] == 0
    monkeypatch.setenv("QUANT__ORDERS__HALTED", "audit")
    assert "orders.halted says: audit" in orders()[2]


def test_the_total_portfolio_needs_holdings(store: DatasetStore, command: Quant) -> None:
    status, _, err = command("orders", "--month", "2024-06")
    assert status == 1
    assert "pass --holdings" in err


def test_capacity_is_a_row_for_each_capital_and_a_plot(store: DatasetStore, command: Quant, tmp_path: Path) -> None:
    plot = tmp_path / "capacity.png"
    wanted = (
        "capacity",
        "-s",
        "it",
        "--from",
        "2024-03",
        "--to",
        "2024-06",
        "--capital",
        "1e6,1e8",
        "--plot",
        str(plot),
    )
    status, out, err = command(*wanted)
    assert (status, err) == (0, "")
    assert "1,000,000" in out
    assert "100,000,000" in out
    first = plot.read_bytes()
    assert first[:4] == b"\x89PNG"
    command(*wanted)
    assert plot.read_bytes() == first
    assert "--capital many is not an amount" in command("capacity", "-s", "it", "--capital", "many")[2]


def test_capacity_begins_with_the_first_stored_decision(
    store: DatasetStore, command: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ("capacity", "-s", "it", "--to", "2024-06", "--from")
    whole = command(*wanted, "2024-03")
    assert "begins with cash" not in whole.out, "every month of the profile is stored"
    monkeypatch.setenv("QUANT__PARTITIONS__START", "2020-01")
    part = command(*wanted, "2024-03")
    first, rest = part.out.split("\n", 1)
    assert (part.status, rest) == (0, whole.out)
    assert first == (
        "it: the book begins with cash and buys after the decision of 2024-01-31, the first that is stored; for an "
        "earlier begin: quant run --profile demo --sector it --from 2022-08 --to 2023-12 --select "
        "prices,delistings,weights"
    )
    missing = command(*wanted, "2023-11")
    assert missing.status == 1
    assert "quant run --profile demo --sector it --from 2023-11 --to 2023-12" in missing.err


def test_turnover_by_cause_and_its_report(store: DatasetStore, command: Quant, tmp_path: Path) -> None:
    head = {"sector": "it", "traded": True, "max_turnover": 0.35, "annual_left": 0.1}
    rows = [
        {**head, "date": date(2024, 6, 3), "cause": "entry", "turnover": 0.2, "cost_bps": 10.0},
        {**head, "date": date(2024, 6, 3), "cause": "exit", "turnover": 0.1, "cost_bps": 40.0},
        {**head, "date": date(2024, 6, 3), "cause": "session_limit", "traded": False, "turnover": 0.5},
        {**head, "date": date(2024, 6, 10), "cause": "decrease", "turnover": 0.36, "cost_bps": 5.0},
    ]
    store.write(DATASETS["turnover"], rows_of("turnover", rows), ["2024-06|it"])
    status, out, err = command("turnover", "-s", "it", "--from", "2024-06", "--to", "2024-06")
    assert (status, err) == (0, "")
    assert "limit 0.35 a session: above it 1 times" in out
    assert "not traded" in out
    path = tmp_path / "demo" / "exports" / "turnover" / "it" / "turnover_report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    assert (report["num_rebalances"], report["cap_breaches"], report["turnover_cap"]) == (2, 1, 0.35)
    assert report["max_turnover"] == pytest.approx(0.36)
    assert report["avg_turnover"] == pytest.approx(0.33)
    assert report["total_costs"] == pytest.approx((0.2 * 10 + 0.1 * 40 + 0.36 * 5) / 1e4)
    assert [each["date"] for each in report["turnover_history"]] == ["2024-06-03", "2024-06-10"]
    store.write(DATASETS["turnover"], DATASETS["turnover"].empty(), ["2024-06|it"])
    command("turnover", "-s", "it", "--from", "2024-06", "--to", "2024-06")
    assert json.loads(path.read_text(encoding="utf-8"))["avg_turnover"] is None


def test_sleeves_from_the_total_portfolio_and_a_file(store: DatasetStore, command: Quant, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    fixed = dict.fromkeys(("gross_return", "cost", "turnover"), 0.0) | {"equity": 1.0, "cash": 0.0}
    rows = [
        {**fixed, "date": day, "net_return": float(each), "positions": 1, "unexplained": 0}
        for day, each in zip(DAYS.tolist(), 0.15 / 252**0.5 * rng.standard_normal(len(DAYS)), strict=True)
    ]
    months = month_range("2024-01", "2024-06")
    store.write(DATASETS["portfolio_backtest"], rows_of("portfolio_backtest", rows), months)
    days = pl.date_range(date(2023, 12, 1), AS_OF, eager=True)
    closes = 100.0 * np.exp(np.cumsum(0.03 * rng.standard_normal(len(days))))
    path = tmp_path / "crypto.parquet"
    pl.DataFrame({"ticker": "BTC-USD", "date": days, "close": closes}).write_parquet(path)
    wanted = ("sleeves", "--crypto", str(path), "--month")
    status, out, err = command(*wanted, "2024-05")
    assert (status, err) == (0, "")
    written = tmp_path / "demo" / "exports" / "sleeves" / "2024-05" / "sleeve_allocation.json"
    document = json.loads(written.read_text(encoding="utf-8"))
    assert list(document) == ["allocation", "method", "date", "metrics", "rebalance_threshold"]
    assert sum(document["allocation"].values()) == pytest.approx(1.0)
    assert document["allocation"]["cash"] > 0.0
    assert document["metrics"]["crypto_volatility"] > document["metrics"]["equity_volatility"]
    # The bar of the decision's own UTC day ends after the session has closed.
    later = pl.read_parquet(path).with_columns(
        close=pl.when(pl.col("date") >= date(2024, 5, 31)).then(3.0 * pl.col("close")).otherwise("close")
    )
    later.write_parquet(path)
    first = written.read_bytes()
    command(*wanted, "2024-05")
    assert written.read_bytes() == first
    status, out, _ = command(*wanted, "2024-06", "--multiplier", "0.5")
    assert status == 0
    assert "held" in out
    assert "has no column 'close'" in _without(command, wanted, path, "close")
    assert "cannot be read" in command("sleeves", "--crypto", str(tmp_path / "none.parquet"))[2].replace("\n", " ")


def test_sleeves_of_the_stored_month(store: DatasetStore, command: Quant, tmp_path: Path) -> None:
    row = dict.fromkeys(DATASETS["sleeve_allocation"].columns) | {
        "as_of": date(2024, 5, 31),
        "since": date(2024, 4, 30),
        "method": "erc",
        "reason": "erc, crypto at its budget of risk",
        "multiplier": 0.5,
        "rebalanced": True,
        "equities": 0.42,
        "crypto": 0.0375,
        "cash": 0.5425,
        "held_equities": 0.61,
        "held_crypto": 0.05,
        "crypto_risk": 0.25,
    }
    schema = DATASETS["sleeve_allocation"].schema
    store.write(DATASETS["sleeve_allocation"], pl.DataFrame([row], schema=schema), ["2024-05"])
    status, out, err = command("sleeves", "--month", "2024-05")
    assert (status, err) == (0, "")
    for shown in ("2024-05-31", "budget of risk", "exposure 0.5", "0.4200", "0.0375", "0.5425", "0.6100", "0.250"):
        assert shown in out
    written = tmp_path / "demo" / "exports" / "sleeves" / "2024-05" / "sleeve_allocation.json"
    assert json.loads(written.read_text(encoding="utf-8"))["allocation"]["cash"] == 0.5425
    assert "2024-04" in command("sleeves", "--month", "2024-04")[2]


def _without(command: Quant, wanted: tuple[str, ...], path: Path, column: str) -> str:
    pl.read_parquet(path).drop(column).write_parquet(path)
    return command(*wanted, "2024-06")[2].replace("\n", " ")
