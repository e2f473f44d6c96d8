"""Assets of what is collected, and what is collected before sessions are carried out."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import dagster as dg
import pytest

from quant_assets.automation.collecting import raw_automation, recorded
from quant_assets.collectors.binance import Binance
from quant_assets.collectors.coinbase import Coinbase
from quant_assets.collectors.coverage import coverage, sessions_late
from quant_assets.collectors.crypto import comparable
from quant_assets.errors import SourceError
from quant_assets.market.calendar import sessions
from quant_assets.profile import Profile
from quant_assets.running.collecting import collect_first, refuse_lacking
from quant_assets.settings.loading import load_settings
from quant_assets_tests.collectors.server import Loopback, Reply, in_turn
from quant_assets_tests.collectors.test_view import Collected
from quant_assets_tests.collectors.test_view_companies import append

SESSION = date(2026, 11, 27)
CANDLES = [[1_764_000_000_000, "1", "2", "0.5", "1.5", "9", 1_764_086_399_999, *"12345"]]


@pytest.fixture
def venue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with Loopback(in_turn(Reply(json.dumps(CANDLES).encode()))).running() as server:
        for name, value in {
            "QUANT_PROFILE": "demo",
            "QUANT__STORAGE": str(tmp_path / "storage"),
            "QUANT__AS_OF": str(SESSION),
            "QUANT__LIVE__GO_LIVE": "2026-11-02",
            "QUANT__COLLECTING__FOLDER": str(tmp_path / "collected"),
            "QUANT__COLLECTING__SINCE": "2026-11-02",
            "QUANT__COLLECTING__BINANCE__URL": server.url,
            "QUANT__COLLECTING__BINANCE__PAIRS": '["BTC-USDT"]',
        }.items():
            monkeypatch.setenv(name, value)
        yield server


def profile() -> Profile:
    return Profile(load_settings("demo"))


def test_to_materialise_the_last_session_is_to_collect(venue: Loopback) -> None:
    found = raw_automation(profile())
    (asset,) = found.assets or ()
    assert isinstance(asset, dg.AssetsDefinition)
    with dg.DagsterInstance.ephemeral() as instance:
        given = [asset, *(found.asset_checks or ())]
        result = dg.materialize(given, instance=instance, partition_key=str(SESSION))
        (event,) = result.asset_materializations_for_node("raw_crypto")
        assert {name: each.value for name, each in event.metadata.items()} == {
            "binance: answers": 1,
            "binance: new candles": 1,
        }
        told = {each.check_name: (each.passed, each.description) for each in result.get_asset_check_evaluations()}
        assert told == {
            "fresh": (True, "binance: 0 closed sessions are missing"),
            "coverage": (True, "every request was answered"),
        }
        earlier = dg.materialize([asset], instance=instance, partition_key="2026-11-25", raise_on_error=False)
        assert not earlier.success
    assert len(venue.asked) == 1


def test_without_anything_asked_there_are_no_assets(venue: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT__COLLECTING__BINANCE__PAIRS", "[]")
    assert not raw_automation(profile()).assets
    assert collect_first(profile(), print) == {}


def test_what_is_collected_first_is_recorded_and_what_fails_is_told(venue: Loopback) -> None:
    venue.answer = in_turn(Reply(b'{"code":-1003,"msg":"banned"}', 418))
    told: list[str] = []
    summaries = collect_first(profile(), told.append)
    assert told[0] == "binance: 1 answers (1 exhausted); new: nothing"
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):  # in the evening and in the morning
            for event in recorded(profile(), summaries):
                instance.report_runless_asset_event(event)
        assert instance.get_materialized_partitions(dg.AssetKey("raw_crypto")) == {str(SESSION)}
    events = recorded(profile(), summaries)
    passed = {each.check_name: each.passed for each in events if isinstance(each, dg.AssetCheckEvaluation)}
    assert passed == {"fresh": False, "coverage": False}
    assert sessions_late(profile().collection, "binance") is None


@pytest.mark.parametrize(
    ("pair", "closes", "said"),
    [
        ("BTC-USDT", [100.0, 101.0], "1 days of pairs were compared"),
        ("BTC-USDT", [100.0, 103.0], "first BTC-USDT on 2026-11-26: binance has 100.0, coinbase 103.0"),
        ("BTC-USD", [100.0, 101.0], "1 days of pairs were compared"),
        ("BTC-USD", [100.0, 50.0], "first BTC-USDT on 2026-11-26: binance has 100.0, coinbase 50.0"),
        ("BTC-EUR", [100.0, 100.0], "no pair is at two venues (binance's BTC-USDT, coinbase's BTC-EUR)"),
    ],
)
def test_venues_that_disagree_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: str, closes: list[float], said: str
) -> None:
    monkeypatch.setenv("QUANT__AS_OF", str(SESSION))
    monkeypatch.setenv("QUANT__COLLECTING__FOLDER", str(tmp_path))
    pairs = {Binance: "BTC-USDT", Coinbase: pair}
    for venue in (Binance, Coinbase):
        monkeypatch.setenv(f"QUANT__COLLECTING__{venue.name.upper()}__PAIRS", json.dumps([pairs[venue]]))
    live = Profile(load_settings("live"))
    at = datetime.combine(SESSION, time(22), UTC)
    for venue, close in zip((Binance, Coinbase), closes, strict=True):
        candle = {"pair": pairs[venue], "venue": venue.name, "date": SESSION - timedelta(days=1)}
        prices = dict.fromkeys(("open", "high", "low", "close"), close) | {"volume": 1.0}
        append(live.settings.collecting, venue, at, candles=[candle | prices])
    checks = {key.name for each in raw_automation(live).asset_checks or () for key in each.check_keys}
    assert checks == {"fresh", "coverage", "venues"}
    (found,) = (each for each in recorded(live, {}) if getattr(each, "check_name", "") == "venues")
    assert isinstance(found, dg.AssetCheckEvaluation)
    assert found.passed == ("were compared" in said)
    assert said in str(found.description)


def test_a_pair_counts_as_one_other_that_the_venue_lacks() -> None:
    same = {"USD": "USDT", "USDC": "USDT"}
    assert comparable(["ETH-USD", "BTC-EUR"], same) == {"ETH-USD": "ETH-USDT"}
    assert comparable(["BTC-USD", "BTC-USDT", "ETH-USD", "ETH-USDC"], same) == {"ETH-USD": "ETH-USDT"}


def test_a_session_most_of_whose_bars_are_lacking_is_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tickers = [f"T{number}" for number in range(10)]
    monkeypatch.setenv("QUANT__AS_OF", str(SESSION))
    monkeypatch.setenv("QUANT__COLLECTING__FOLDER", str(tmp_path))
    monkeypatch.setenv("QUANT__COLLECTING__UNIVERSE", json.dumps({"it": tickers}))
    found, live = Collected(tmp_path, *tickers), Profile(load_settings("live"))
    with pytest.raises(SourceError, match=r"0 of 0 tickers have a bar of 2026-11-27; it is not recorded before"):
        refuse_lacking(live)
    days = sessions(SESSION - timedelta(days=40), SESSION - timedelta(days=1)).tolist()
    at = datetime.combine(SESSION, time(22), UTC)
    # T9 has been silent for weeks: nobody expects a bar of it.
    found.add(at, [(ticker, day, 10.0) for ticker in tickers for day in days if ticker != "T9" or day == days[0]])
    found.add(at, [(ticker, SESSION, 10.0) for ticker in tickers[:8]])
    with pytest.raises(SourceError, match=r"8 of 9 tickers have a bar of 2026-11-27, without T8; it is not recorded"):
        refuse_lacking(live)
    found.add(at, [("T8", SESSION, 10.0)])
    refuse_lacking(live)
    assert coverage(live.collection, SESSION).share == 1.0
