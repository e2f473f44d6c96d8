"""FRED and ALFRED: recorded answers, windows of vintages against a slow truth, and fredapi as a second reader."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.collectors.answers import Exhausted, Refused, Rows
from quant_assets.collectors.collect import outcome, replay
from quant_assets.collectors.fred import OBSERVATIONS, WINDOWS, Fred
from quant_assets.settings.collecting_figures import FredSettings
from quant_assets_tests.collectors.answers_fred import FredServer, Given, as_known
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Asked, Loopback, Reply, in_turn
from quant_assets_tests.collectors.stores import Stores, received, recorded, recordings

EVENING = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)

#: Recording: (endpoint under which it is read, outcome, what is said or the values that there are).
RECORDED: dict[str, tuple[str, str, str | int]] = {
    "400_bad_key.json": ("vintages", "refused", "api_key is not registered"),
    "400_bad_series.json": ("series", "refused", "series does not exist"),
    "400_bad_series.xml": ("series", "broken", "not JSON"),
    "400_too_many_vintages.json": ("observations", "refused", "2004 vintage dates"),
    "429.json": ("observations", "exhausted", "Too Many Requests"),
    "observations_GDP_all_releases.json": ("observations", "rows", 3_199),
    "observations_GDP_asof.json": ("observations", "rows", 2_902),
    # Asked without vintages: every value seems to begin on the day of the question, which says nothing.
    "observations_GDP_latest.json": ("observations", "rows", 0),
    "observations_GDP_output4_initial_release.json": ("observations", "rows", 132),
    "observations_SP500_latest.xml": ("observations", "broken", "not JSON"),
    "release_dates.json": ("observations", "broken", "no field observations"),
    "series_GDP.json": ("series", "rows", 1),
    "series_release_GDP.json": ("series", "broken", "no field seriess"),
    "vintagedates_GDP.json": ("vintages", "rows", 393),
}


def reader() -> Fred:
    return Fred(FredSettings(series=("GDP",)))


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_is_read_to_its_outcome(shared_data: Path, name: str) -> None:
    endpoint, expected, shown = RECORDED[name]
    answer = reader().read(endpoint, "GDP", recorded(shared_data, f"fred/{name}"))
    assert outcome(answer) == expected
    if isinstance(answer, Rows):
        assert len(answer.payload.get(endpoint, [])) == shown
    else:
        assert str(shown) in answer.why


def test_every_recording_is_read(shared_data: Path) -> None:
    assert recordings(shared_data, "fred") == {f"fred/{name}" for name in RECORDED}


def test_recorded_vintages_of_gdp(shared_data: Path) -> None:
    """What was withdrawn is null from that day on; no value is known before its release."""
    answer = reader().read("observations", "GDP", recorded(shared_data, "fred/observations_GDP_all_releases.json"))
    assert isinstance(answer, Rows)
    found: pl.DataFrame = answer.payload[OBSERVATIONS.name]
    assert found["value"].null_count() == 245
    assert found.columns == ["series_id", "period", "released", "value"]
    first = found.filter(period=date(1946, 1, 1)).sort("released")
    assert first.rows() == [
        ("GDP", date(1946, 1, 1), date(1992, 12, 22), 199.7),
        ("GDP", date(1946, 1, 1), date(1996, 1, 19), None),
        ("GDP", date(1946, 1, 1), date(1997, 5, 7), 210.4),
        ("GDP", date(1946, 1, 1), date(1999, 10, 28), None),
    ]
    dates = reader().read("vintages", "GDP", recorded(shared_data, "fred/vintagedates_GDP.json"))
    assert isinstance(dates, Rows)
    assert set(found["released"]) <= set(dates.payload["vintages"]["vintage"])


def day(number: int) -> date:
    return date(2020, 1, 1) + timedelta(days=number)


def history(draw: list[tuple[int, int, float | None]]) -> list[Given]:
    """Values that change something, at most one of a period and day, each after its period."""
    made: dict[tuple[date, date], float | None] = {}
    for period, after, value in draw:
        made[day(period), day(period + 1 + after)] = value
    kept = list[Given]()
    for (period, released), value in sorted(made.items(), key=lambda each: each[0]):
        before = as_known(kept, released).get(period, "none")
        if value != before and not (value is None and before == "none"):
            kept.append((period, released, value))
    return kept


values = st.one_of(st.none(), st.sampled_from([1.0, 2.0, 3.5]))
histories = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 25), values), min_size=1, max_size=40).map(history)


def known(frame: pl.DataFrame, on: date) -> dict[date, float | None]:
    """The newest release of each period."""
    found = frame.filter(pl.col("released") <= on).sort("released").unique("period", keep="last")
    return dict(found.select("period", "value").iter_rows())


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(told=histories, size=st.integers(2, 7), page=st.integers(1, 50), starts=st.lists(st.integers(1, 45), max_size=3))
def test_windows_collected_at_any_times_tell_what_was_known_on_every_day(
    tmp_path_factory: pytest.TempPathFactory, told: list[Given], size: int, page: int, starts: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRED_API_KEY", "k" * 32)
        clock = SimulatedClock(datetime(2020, 1, 1, 22, tzinfo=UTC))
        given = FredServer(clock, {"GDP": told}, most=size, page=page)
        with Loopback(given).running() as server:
            fred = Fred(FredSettings(url=server.url, series=("GDP",), vintages_a_request=size))
            stores = Stores(tmp_path_factory.mktemp("fred"), fred, clock)
            for at in [*sorted(starts), 60]:
                clock.sleep(
                    max(0.0, (datetime(2020, 1, 1, 22, tzinfo=UTC) + timedelta(at) - clock.now()).total_seconds())
                )
                assert stores.collect().said == []
    frame = stores.tables.newest(OBSERVATIONS.name)
    assert frame.select("period", "released", "value").rows() == sorted(told, key=lambda each: each[:2])
    for number in range(45):
        assert known(frame, day(number)) == as_known(told, day(number))


def test_a_long_history_a_new_vintage_and_one_that_changes_within_its_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRED_API_KEY", "k" * 32)
    clock = SimulatedClock(EVENING)
    last = date(2026, 11, 30)
    daily: list[Given] = [
        (last - timedelta(days=each + 1), last - timedelta(days=each), float(each)) for each in range(4_500)
    ]
    given = FredServer(clock, {"DGS10": daily})
    with Loopback(given).running() as server:
        stores = Stores(tmp_path, Fred(FredSettings(url=server.url, series=("DGS10",))), clock)
        first = stores.collect()
        assert first.said == []
        assert first.asked == 5  # what it is, its dates, 2,000 of them and twice 1,999 more at most
        assert first.new["observations"] == 4_500
        spans = stores.tables.newest(WINDOWS.name).select("first", "last").rows()
        assert [begin for begin, _ in spans[1:]] == [end for _, end in spans[:-1]]
        assert stores.collect().asked == 0

        daily[0] = (daily[0][0], daily[0][1], 7.5)  # corrected before the day is over
        daily.append((last, last + timedelta(days=1), 8.5))
        clock.sleep(86_400)
        second = stores.collect()
        assert (second.asked, second.new["observations"], second.revised) == (2, 1, {"observations": 1})
        assert server.asked[-1].query["realtime_start"] == "2026-11-29"
    found = stores.tables.newest(OBSERVATIONS.name)
    assert found.filter(period=last - timedelta(days=1))["value"].to_list() == [7.5]
    before = stores.versions()
    replay(stores.collector, stores.raw, stores.tables)
    assert all(frame.equals(before[name]) for name, frame in stores.versions().items())


def test_a_collection_that_broke_off_within_a_window_reads_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRED_API_KEY", "k" * 32)
    clock = SimulatedClock(EVENING)
    told: list[Given] = [(day(each), day(each + 100), float(each)) for each in range(20)]
    full = FredServer(clock, {"GDP": told}, page=7)
    html = [Reply(b"<html>Will be right back")]

    def answer(asked: Asked) -> Reply:
        return html.pop() if asked.query.get("offset") == "7" and html else full(asked)

    with Loopback(answer).running() as server:
        stores = Stores(tmp_path, Fred(FredSettings(url=server.url, series=("GDP",))), clock)
        assert stores.collect().new["observations"] == 7
        assert stores.collect().new["observations"] == 13
    assert stores.tables.newest(OBSERVATIONS.name)["value"].to_list() == [float(each) for each in range(20)]


def test_a_smaller_limit_of_vintages_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRED_API_KEY", "k" * 32)
    clock = SimulatedClock(EVENING)
    told: list[Given] = [(day(each), day(each + 1), float(each)) for each in range(40)]
    with Loopback(FredServer(clock, {"GDP": told}, most=12)).running() as server:
        stores = Stores(tmp_path, Fred(FredSettings(url=server.url, series=("GDP",), vintages_a_request=40)), clock)
        summary = stores.collect()
    assert summary.outcomes["refused"] == 2  # 40, then 20; 10 at a time are answered
    assert stores.tables.newest(OBSERVATIONS.name)["value"].to_list() == [float(each) for each in range(40)]


def test_a_429_is_waited_out_and_the_key_stays_out_of_every_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRED_API_KEY", "k" * 32)
    clock = SimulatedClock(EVENING)
    full = FredServer(clock, {"GDP": [(day(0), day(1), 1.0)]})
    busy = Reply(b'{"error_code":429,"error_message":"Too Many Requests.  Exceeded Rate Limit"}', 429)
    answers = [busy, busy]
    with Loopback(lambda asked: answers.pop() if answers else full(asked)).running() as server:
        stores = Stores(tmp_path, Fred(FredSettings(url=server.url, series=("GDP",))), clock)
        assert stores.collect().new["observations"] == 1
        assert [each for each in clock.slept if each > 2] == [20.0, 40.0]
        assert server.asked[0].query["api_key"] == "k" * 32
        server.answer = in_turn(busy)
        clock.sleep(86_400)
        summary = stores.collect()
    assert dict(summary.outcomes) == {"exhausted": 1}
    assert all("k" * 32 not in entry.url for entry in stores.entries())


def test_an_unknown_series_is_refused_once_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRED_API_KEY", "k" * 32)
    clock = SimulatedClock(EVENING)
    with Loopback(FredServer(clock, {"GDP": [(day(0), day(1), 1.0)]})).running() as server:
        stores = Stores(tmp_path, Fred(FredSettings(url=server.url, series=("NOPE", "GDP"))), clock)
        summary = stores.collect()
    assert (dict(summary.outcomes), summary.new["observations"]) == ({"refused": 1, "rows": 3}, 1)
    assert summary.said == [
        "fred, series of NOPE: refused (Bad Request.  The series does not exist.); correct collecting.fred.series"
    ]


def test_refusals_in_words() -> None:
    key = reader().read("series", "GDP", received({"error_code": 400, "error_message": "variable api_key is"}, 400))
    assert isinstance(key, Refused)
    assert (key.scope, "FRED_API_KEY" in key.remedy) == ("provider", True)
    busy = reader().read("series", "GDP", received({"error_code": 429, "error_message": "Too Many"}, 429))
    assert isinstance(busy, Exhausted)
    assert busy.until == EVENING + timedelta(minutes=1)


def test_fredapi_reads_the_same_releases(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of the field as a second reader: it asks for XML, which loopback makes of the recorded JSON."""
    fredapi = pytest.importorskip("fredapi")
    answer = recorded(shared_data, "fred/observations_GDP_all_releases.json")
    rows: list[dict[str, Any]] = json.loads(answer.body)["observations"]
    lines = "".join(
        "<observation " + " ".join(f"{name}={quoteattr(value)}" for name, value in row.items()) + "/>" for row in rows
    )
    with Loopback(in_turn(Reply(f"<observations>{lines}</observations>".encode()))).running() as server:
        client = fredapi.Fred(api_key="k" * 32)
        client.root_url = server.url
        theirs = client.get_series_all_releases("GDP")
    ours = reader().read("observations", "GDP", answer)
    assert isinstance(ours, Rows)
    frame = ours.payload[OBSERVATIONS.name]
    assert [each.date() for each in theirs["realtime_start"]] == frame["released"].to_list()
    assert [each.date() for each in theirs["date"]] == frame["period"].to_list()
    assert [None if each != each else each for each in theirs["value"]] == frame["value"].to_list()
