"""A run that leaves nothing but partitions without rows: an error that says why, unless it was meant."""

from datetime import date
from pathlib import Path

import pytest

from quant_assets.cli.candidates import nobody
from quant_assets.cli.run import refuse_emptiness, trading_days
from quant_assets.errors import SourceError
from quant_assets.market.calendar import sessions
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets.settings.origin import ROOT
from quant_assets_tests.command import Quant

PROFILE = """source: files
partitions: {start: "2023-06", end: "2023-06"}
files:
  prices: [{file: prices.csv, provider: p, adjustment: as_traded}]
  membership: {file: members.csv}
  securities: {file: sectors.csv, sectors: {Tech: it}}
"""
DAYS = [f"2023-06-{day:02d}" for day in (1, 2, 5, 6, 7, 8, 9)]
RUN = ("run", "-p", "mine", "-s", "it", "--to", "2023-06", "--select", "universe,ohlcv")


@pytest.mark.slow
def test_a_run_without_a_bar_is_an_error_that_names_the_cause(
    command: Quant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    conf, data = tmp_path / "conf", tmp_path / "data"
    (conf / "profiles").mkdir(parents=True)
    data.mkdir()
    (conf / "base.yaml").write_bytes((ROOT / "conf" / "base.yaml").read_bytes())
    (conf / "profiles" / "mine.yaml").write_text(PROFILE)
    for name, value in {
        "QUANT_CONF_DIR": str(conf),
        "QUANT_DATA_DIR": str(data),
        "QUANT__STORAGE": str(tmp_path / "storage"),
        "DAGSTER_HOME": str(tmp_path / "home"),
        "QUANT__DAGSTER__STORAGE": "sqlite",
    }.items():
        monkeypatch.setenv(name, value)

    bars = [f"{ticker},{day},10,11,9,10,1000\n" for ticker in ("aaaa", "bbbb") for day in DAYS]
    (data / "prices.csv").write_text("ticker,date,open,high,low,close,volume\n" + "".join(bars))
    (data / "members.csv").write_text("ticker,start_date,end_date\nAAAA,2023-06-01,\nBBBB,2023-06-01,\n")
    (data / "sectors.csv").write_text("ticker,sector,known_at\nAAAA,Tech,2023-06-01\nBBBB,Tech,2023-06-01\n")
    outcome = command(*RUN)
    assert outcome.status == 1
    assert outcome.err == (
        "error: ohlcv has no bar of it from 2023-06 to 2023-06: none of AAAA, BBBB has a bar from 2023-06-01 to "
        "2023-06-30, but there is aaaa, bbbb: spell tickers alike in all files; --may-be-empty accepts "
        "that\n"
    )
    assert "differ only in case are taken for different ones: AAAA and aaaa, BBBB and bbbb" in outcome.out

    # What one run has left is asked of other requests than its own.
    profile = Profile(load_settings("mine"))

    def refused(names: str, sectors: str) -> str:
        try:
            refuse_emptiness(profile, names.split(), sectors.split(), "2023-06", "2023-06")
        except SourceError as error:
            return str(error)
        return ""

    assert "none of AAAA, BBBB is in energy" in refused("universe", "energy")
    assert refused("universe", "energy it") == "", "a sector of several may be empty"
    assert refused("universe absences", "it") == ""
    assert refused("quarantine delistings", "it") == "", "a month in which nothing happened is a good one"
    assert refused("price_peaks", "it").startswith("there is no row in price_peaks of it from 2023-06 to 2023-06")
    assert "no candidates; no member has a bar (dataset ohlcv)" in nobody(profile, "it", "2023-06")
    outcome = command(*RUN[:-1], "macro", "--may-be-empty")
    assert outcome.status == 0, outcome.err

    # The files end in the middle of the month, on whose last session is decided.
    (data / "prices.csv").write_text("ticker,date,open,high,low,close,volume\n" + "".join(bars).upper())
    outcome = command(*RUN[:-1], "universe..candidates")
    assert outcome.status == 0, outcome.err
    assert "it: on 2023-06-30 most members have no bar, so that none of these is chosen or bought then; " in outcome.out
    outcome = command("candidates", "-p", "mine", "-s", "it", "--month", "2023-06")
    assert "no candidates; no member has a bar on 2023-06-30: they end on 2023-06-09 (dataset ohlcv)" in outcome.out


def test_days_of_decision_and_of_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT__AS_OF", "2024-06-14")
    profile = Profile(load_settings("demo"))
    lag = profile.settings.labels.entry_lag
    may = sessions(date(2024, 5, 1), date(2024, 6, 14)).tolist()
    executed = [may[lag - 1], may[may.index(date(2024, 5, 31)) + lag]]
    assert trading_days(profile, "2024-05", "2024-06") == sorted([*executed, date(2024, 5, 31), date(2024, 6, 14)])
