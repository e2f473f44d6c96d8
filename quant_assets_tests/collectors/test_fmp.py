"""Financial Modeling Prep: its recorded answers, and collections from a loopback server that gives such."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from quant_assets.collectors.answers import Answer, Broken, Exhausted, Nothing, Refused, Rows
from quant_assets.collectors.collect import outcome, replay
from quant_assets.collectors.fmp import Fmp
from quant_assets.collectors.fmp_tables import ENDPOINTS
from quant_assets.errors import SettingsError
from quant_assets.settings.collecting_figures import FmpKind, FmpSettings
from quant_assets_tests.collectors.answers_fmp import FmpServer, income, price
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Loopback, Reply
from quant_assets_tests.collectors.stores import Stores, received, recorded, recordings

EVERYTHING = tuple(kind for kind in get_args(FmpKind) if kind != "cash_flow")
EVENING = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)

#: Recording: (endpoint under which it is read, outcome, what is said or the rows that there are).
RECORDED: dict[str, tuple[str, str, str | int]] = {
    "200_empty_body.txt": ("prices", "broken", "empty answer"),
    "200_empty_list_unknown_symbol.json": ("prices", "nothing", "knows no prices"),
    "200_limit_reach_in_body.json": ("prices", "exhausted", "Limit Reach"),
    "401_invalid_key.json": ("prices", "refused", "Invalid API KEY"),
    "402_limit_gate.txt": ("income-annual", "refused", "a limit of at most 5"),
    "402_period_gate.txt": ("income-quarterly", "refused", "this value of 'period'"),
    "402_restricted_endpoint.txt": ("constituents", "refused", "this endpoint"),
    "402_symbol_gate.txt": ("prices", "refused", "this symbol"),
    "403_legacy_v3.json": ("prices", "refused", "Legacy Endpoint"),
    "429_bandwidth.json": ("prices", "exhausted", "Bandwidth Limit Reach"),
    "429_limit_reach.json": ("prices", "exhausted", "Limit Reach"),
    "balance-sheet-statement_AAPL_annual.json": ("balance-annual", "rows", 1),
    "delisted-companies_page0.json": ("delisted", "rows", 1),
    "dividends_AAPL_limit1.json": ("dividends", "rows", 1),
    "historical-price-eod-full_AAPL_2023.json": ("prices", "broken", "no field adjOpen"),
    "historical-price-eod-full_BTCUSD_2023.json": ("prices", "broken", "no field adjOpen"),
    "income-statement_AAPL_annual.json": ("income-annual", "rows", 1),
    "v3_stock_split_AAPL_legacy.json": ("splits", "broken", "no list of rows"),
}


def reader() -> Fmp:
    return Fmp(FmpSettings(), ("AAPL",))


def only(answer: Answer) -> list[dict[str, Any]]:
    assert isinstance(answer, Rows), answer
    (frame,) = answer.payload.values()
    found: list[dict[str, Any]] = frame.to_dicts()
    return found


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_is_read_to_its_outcome(shared_data: Path, name: str) -> None:
    endpoint, expected, shown = RECORDED[name]
    answer = reader().read(endpoint, "AAPL", recorded(shared_data, f"fmp/{name}"))
    assert outcome(answer) == expected
    if isinstance(shown, int):
        assert len(only(answer)) == shown
    else:
        assert not isinstance(answer, Rows)
        assert shown in answer.why


def test_every_recording_is_read(shared_data: Path) -> None:
    assert recordings(shared_data, "fmp") == {f"fmp/{name}" for name in RECORDED}


def test_recorded_statements_have_their_figures(shared_data: Path) -> None:
    (row,) = only(
        reader().read("income-annual", "AAPL", recorded(shared_data, "fmp/income-statement_AAPL_annual.json"))
    )
    assert row["period_end"] == date(2024, 9, 28)
    assert row["published"] == date(2024, 11, 1)  # accepted at 06:01 in New York
    assert row["accepted_at"] == datetime(2024, 11, 1, 10, 1, 36, tzinfo=UTC)
    assert (row["form"], row["currency"], row["fiscal_year"]) == ("FY", "USD", "2024")
    assert (row["revenue"], row["net_income"], row["shares"]) == (391_035e6, 93_736e6, 15_343_783e3)
    sheet = recorded(shared_data, "fmp/balance-sheet-statement_AAPL_annual.json")
    (row,) = only(reader().read("balance-annual", "AAPL", sheet))
    assert row["total_assets"] == 364_980e6
    assert row["total_equity"] is not None
    assert row["total_debt"] is not None


@pytest.mark.parametrize(
    ("accepted", "published"),
    [
        ("2024-11-01 06:01:36", date(2024, 11, 1)),
        ("2024-11-01 15:59:59", date(2024, 11, 1)),
        ("2024-11-01 16:00:00", date(2024, 11, 2)),  # a Saturday: the next session is Monday's
        ("2024-10-31 18:12:00", date(2024, 11, 1)),
        ("2024-11-29 13:30:00", date(2024, 11, 30)),  # the session ended at 13:00
        ("2024-11-29 12:30:00", date(2024, 11, 29)),
        (None, date(2024, 11, 2)),  # the day alone: its hour is not known
    ],
)
def test_a_statement_is_known_when_it_was_accepted_before_the_close(accepted: str | None, published: date) -> None:
    row = income("AAPL", acceptedDate=accepted, filingDate="2024-11-01")
    (read,) = only(reader().read("income-annual", "AAPL", received([row])))
    assert read["published"] == published


def test_names_of_the_older_interface_are_read_too() -> None:
    row = income("AAPL")
    for new, old in (("filingDate", "fillingDate"), ("fiscalYear", "calendarYear"), ("epsDiluted", "epsdiluted")):
        row[old] = row.pop(new)
    (read,) = only(reader().read("income-annual", "AAPL", received([row])))
    assert (read["eps_diluted"], read["fiscal_year"], read["filed"]) == (6.08, "2024", date(2024, 11, 1))


def test_bars_are_as_traded_and_neither_running_nor_absent() -> None:
    rows = [price("AAPL", day, 100.0 + day.day) for day in (date(2026, 11, 30), date(2026, 11, 27), date(2026, 11, 25))]
    rows[2]["adjClose"] = None
    asked = "http://loopback/prices?symbol=AAPL"
    during = received(rows, url=asked, at=datetime(2026, 11, 30, 21, 29, tzinfo=UTC))  # 16:29 in New York
    assert [row["date"].day for row in only(reader().read("prices", "AAPL", during))] == [27]
    after = received(rows, url=asked, at=datetime(2026, 11, 30, 21, 30, tzinfo=UTC))
    assert [(row["date"].day, row["close"]) for row in only(reader().read("prices", "AAPL", after))] == [
        (30, 130.0),
        (27, 127.0),
    ]
    other = reader().read("prices", "AAPL", received(rows, url="http://loopback/prices?symbol=MSFT"))
    assert isinstance(other, Broken)
    assert "has data of AAPL instead of MSFT" in other.why


def test_of_two_versions_in_one_answer_the_last_accepted_counts() -> None:
    rows = [income("AAPL", revenue=2.0, acceptedDate="2024-12-01 08:00:00"), income("AAPL", revenue=1.0)]
    (row,) = only(reader().read("income-annual", "AAPL", received(rows)))
    assert row["revenue"] == 2.0


def test_a_statement_without_its_form_keeps_the_times_of_the_others_on_their_rows() -> None:
    """An empty text is a form; a null is none, and its row is left out with its time."""
    rows = [
        income("AAPL", period="", acceptedDate="2024-11-01 06:01:36"),
        income("AAPL", period=None, acceptedDate="2024-11-02 06:01:36"),
        income("AAPL", period="FY", acceptedDate="2024-11-03 06:01:36"),
    ]
    read = only(reader().read("income-annual", "AAPL", received(rows)))
    assert [(row["form"], row["accepted_at"].day) for row in read] == [("", 1), ("FY", 3)]


def test_who_left_an_index_is_no_member_on_the_days_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMP_API_KEY", "k3y")
    clock = SimulatedClock(EVENING)
    given = FmpServer(clock)
    members = given.rows("sp500-constituent", {})
    with Loopback(given).running() as server:
        stores = Stores(tmp_path, Fmp(FmpSettings(url=server.url, kinds=("constituents",)), ()), clock)
        stores.collect()
        clock.sleep(86_400)
        server.answer = lambda asked: (
            Reply(json.dumps(members[:1]).encode()) if asked.path == "/sp500-constituent" else given(asked)
        )
        summary = stores.collect()
    assert (summary.new["constituents"], summary.revised) == (1, {})
    found = stores.tables.newest("constituents")
    assert found.select("index", "on", "ticker").rows() == [
        ("sp500", date(2026, 11, 30), "AAPL"),
        ("sp500", date(2026, 11, 30), "MSFT"),
        ("sp500", date(2026, 12, 1), "AAPL"),
    ]


@pytest.mark.parametrize(
    ("body", "status", "scope"),
    [
        (b"Restricted Endpoint: not available under your current subscription", 402, "endpoint"),
        (b"Premium Query Parameter: 'Special Endpoint : This value set for 'symbol' is not", 402, "question"),
        (b"Premium Query Parameter: 'Special Endpoint : This value set for 'period' is not", 402, "endpoint"),
        (b"Premium Query Parameter: 'Special Endpoint : This value set for 'page' is not", 402, "question"),
        (b"Premium Query Parameter: 'Special Parameters : The values for 'limit' must be between 0 and 5", 402, "q"),
        (b"Payment required", 402, "question"),
        (b'{"Error Message": "Invalid API KEY."}', 401, "provider"),
        (b'{"Error Message": "Invalid API KEY."}', 200, "provider"),
        (b'{"Error Message":"Legacy Endpoint : no longer"}', 403, "provider"),
    ],
    ids=["endpoint", "symbol", "period", "page", "limit", "words", "key", "key in a 200", "legacy"],
)
def test_a_refusal_says_how_far_it_reaches(body: bytes, status: int, scope: str) -> None:
    answer = reader().read("income-annual", "AAPL", received(body, status))
    assert isinstance(answer, Refused)
    assert answer.scope.startswith(scope)
    assert answer.remedy


def test_the_budget_is_used_up_until_midnight() -> None:
    answer = reader().read("prices", "AAPL", received({"Error Message": "Limit Reach . Please"}, 429))
    assert isinstance(answer, Exhausted)
    assert answer.until == datetime(2026, 12, 1, tzinfo=UTC)


def test_without_a_key_it_says_which_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FMP_API_KEY", raising=False)
    with pytest.raises(SettingsError, match="FMP_API_KEY is not set"):
        reader().client(SimulatedClock())


def test_a_collection_fills_every_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMP_API_KEY", "k3y")
    clock = SimulatedClock(EVENING)
    given = FmpServer(clock)
    with Loopback(given).running() as server:
        stores = Stores(
            tmp_path,
            Fmp(FmpSettings(url=server.url, kinds=EVERYTHING, symbols={"BRK.B": "BRK-B"}), ("AAPL", "BRK.B")),
            clock,
        )
        summary = stores.collect()
        assert summary.said == []
        rows = {name: len(frame) for name, frame in stores.versions().items()}
        assert rows == {
            "bars": 42,
            "splits": 2,
            "dividends": 2,
            "income_statements": 4,
            "balance_sheets": 4,
            "cash_flows": 0,
            "delisted": 103,
            "symbol_changes": 2,
            "constituents": 2,
            "constituent_changes": 2,
        }
        assert {asked.headers["apikey"] for asked in server.asked} == {"k3y"}
        assert stores.collect().asked == 0

        clock.sleep(86_400)
        given.revenue = 400.0
        second = stores.collect()
        assert {name: count for name, count in second.new.items() if count} == {"bars": 2, "constituents": 2}
        assert second.revised == {"income_statements": 4}
        asked = next(each for each in server.asked[::-1] if each.path.endswith("non-split-adjusted"))
        assert (asked.query["from"], asked.query["to"]) == ("2026-11-20", "2026-12-01")
    newest = stores.tables.newest("bars")
    assert newest["ticker"].unique().sort().to_list() == ["AAPL", "BRK.B"]
    before = stores.versions()
    replay(stores.collector, stores.raw, stores.tables)
    assert all(frame.equals(before[name]) for name, frame in stores.versions().items())
    changes = stores.tables.newest("constituent_changes").rows()
    assert changes[0][:4] == ("sp500", date(2025, 7, 8), "DDOG", "JNPR")
    assert changes[1][2:4] == ("", "OLD")  # nobody came in its place


def test_a_smaller_plan_is_asked_for_what_it_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of 5 is learned once; a refused endpoint is not asked for the other tickers; a symbol by itself."""
    monkeypatch.setenv("FMP_API_KEY", "k3y")
    clock = SimulatedClock(EVENING)
    small = b"Premium Query Parameter: 'Special Parameters : The values for 'limit' must be between 0 and 5 based on"
    symbol = b"Premium Query Parameter: 'Special Endpoint : This value set for 'symbol' is not available under"
    quarters = b"Premium Query Parameter: 'Special Endpoint : This value set for 'period' is not available under"
    full = FmpServer(clock)

    def answer(asked: Any) -> Reply:
        if int(asked.query.get("limit", 0)) > 5 and "symbol" in asked.query:
            return Reply(small, 402)
        if asked.query.get("symbol") == "TWTR" and asked.path.endswith("non-split-adjusted"):
            return Reply(symbol, 402)
        return Reply(quarters, 402) if asked.query.get("period") == "quarter" else full(asked)

    settings = {"kinds": ("prices", "splits", "income"), "limit": 1_000}
    with Loopback(answer).running() as server:
        stores = Stores(tmp_path, Fmp(FmpSettings(url=server.url, **settings), ("AAPL", "TWTR", "META")), clock)
        summary = stores.collect()
        limits = [asked.query["limit"] for asked in server.asked if "limit" in asked.query]
    assert limits == ["1000", "5", "5", "5", "5", "5", "5", "5"]
    assert dict(summary.outcomes) == {"rows": 8, "refused": 3, "skipped": 2}
    assert [line.split(":")[0] for line in summary.said] == [
        "fmp, splits of AAPL",
        "fmp, income-quarterly of AAPL",
        "fmp, prices of TWTR",
    ]
    assert stores.tables.newest("splits")["ticker"].to_list() == ["AAPL", "META", "TWTR"]


@pytest.mark.parametrize(("pages", "asked"), [(1, ["0"]), (1_000, ["0", "1", "2"])])
def test_no_more_pages_of_the_delisted_are_asked_for_than_the_plan_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int, asked: list[str]
) -> None:
    monkeypatch.setenv("FMP_API_KEY", "k3y")
    clock = SimulatedClock(EVENING)
    with Loopback(FmpServer(clock)).running() as server:
        settings = FmpSettings(url=server.url, kinds=("delisted",), delisted_pages=pages)
        stores = Stores(tmp_path, Fmp(settings, ()), clock)
        summary = stores.collect()
        assert [each.query["page"] for each in server.asked] == asked
        assert (summary.said, stores.collect().asked) == ([], 0)


def test_a_budget_that_ends_every_day_reaches_every_ticker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMP_API_KEY", "k3y")
    clock = SimulatedClock(EVENING)
    full, left = FmpServer(clock), [0]

    def answer(asked: Any) -> Reply:
        left[0] -= 1
        return full(asked) if left[0] >= 0 else Reply(b'{"Error Message": "Limit Reach . Please upgrade"}', 429)

    tickers = ("A", "B", "C", "D")
    with Loopback(answer).running() as server:
        stores = Stores(tmp_path, Fmp(FmpSettings(url=server.url, kinds=("prices",)), tickers), clock)
        for _ in range(2):
            left[0] = 2
            summary = stores.collect()
            clock.sleep(86_400)
        assert summary.ended is not None
        assert stores.tables.newest("bars")["ticker"].unique().sort().to_list() == list(tickers)
        for first in ("A", "C"):  # of all of them there is something: those asked longest ago come first
            left[0], before = 2, len(server.asked)
            stores.collect()
            assert server.asked[before].query["symbol"] == first
            clock.sleep(86_400)


def test_an_earlier_since_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMP_API_KEY", "k3y")
    clock = SimulatedClock(EVENING)
    with Loopback(FmpServer(clock)).running() as server:
        stores = Stores(tmp_path, Fmp(FmpSettings(url=server.url, kinds=("prices", "splits")), ("AAPL",)), clock)
        assert stores.collect().said == []
        for pause, questions in ((60, 1), (60, 0), (86_400, 2)):
            clock.sleep(pause)
            assert stores.planned(date(2024, 1, 1)) == questions
            summary = stores.collect(date(2024, 1, 1))
            assert (summary.asked, summary.said) == (questions, [])
        asked = [each.query["from"] for each in server.asked if "from" in each.query]
    assert asked == ["2026-11-01", "2024-01-01", "2026-11-20"]
    assert stores.tables.newest("bars")["date"].min() == date(2024, 1, 1)


def test_endpoints_fill_columns_of_their_tables() -> None:
    for name, endpoint in ENDPOINTS.items():
        assert set(endpoint.fields) <= set(endpoint.table.schema), name
    assert {endpoint.table.name for endpoint in ENDPOINTS.values()} == {table.name for table in Fmp.tables}


def test_an_unknown_symbol_is_no_delisting() -> None:
    assert isinstance(reader().read("prices", "NOPE", received([])), Nothing)
