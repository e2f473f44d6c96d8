"""A profile over CSV files of two small sectors, for what runs by itself: files that a test changes."""

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import yaml

from quant_assets.market.calendar import sessions
from quant_assets_tests.graph import PROJECT, SMALL

SECTORS = ("energy", "it")
FIRST, AS_OF = "2023-10", date(2024, 6, 14)
#: Months that are over at `AS_OF`.
LAST = "2024-05"
TICKERS = {f"{sector[:2].upper()}{letter}": sector for sector in SECTORS for letter in "ABC"}
#: Assets that need no long history.
ASSETS = (
    "universe",
    "ohlcv",
    "quarantine",
    "price_events",
    "price_disagreements",
    "price_peaks",
    "absences",
    "delistings",
    "prices",
    "fundamentals",
    "labels",
    "regime_state",
)


def write_bars(folder: Path, ticker: str, last: date = AS_OF, scale: dict[date, float] | None = None) -> Path:
    """The file of a ticker: a random walk of its own; `scale` multiplies the bars of some days."""
    days = sessions(date(2023, 10, 2), last)
    rng = np.random.default_rng(list(TICKERS).index(ticker))
    closes = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 400)))[: len(days)]
    lines = [
        f"{day},{close},{close * 1.01},{close * 0.99},{close},1000000"
        for day, close in (
            (day.item(), close * (scale or {}).get(day.item(), 1.0)) for day, close in zip(days, closes, strict=True)
        )
    ]
    path = folder / f"{ticker}.csv"
    path.write_text("date,open,high,low,close,volume\n" + "\n".join(lines) + "\n")
    return path


def write_members(folder: Path, starts: dict[str, str] | None = None) -> Path:
    """The file of the index; `starts` are the first days of some members that are not in it from 2020 on."""
    path = folder / "index.csv"
    lines = [f"{ticker},{(starts or {}).get(ticker, '2020-01-01')}," for ticker in TICKERS]
    path.write_text("ticker,start_date,end_date\n" + "\n".join(lines) + "\n")
    return path


def write_profile(folder: Path, name: str = "own", **settings: object) -> Path:
    """Make files and a profile over them in a folder; the folder of the files."""
    data, conf = folder / "data", folder / "conf"
    data.mkdir()
    (conf / "profiles").mkdir(parents=True)
    for ticker in TICKERS:
        write_bars(data, ticker)
    write_members(data)
    listed = [f"{ticker},{sector},2020-01-01" for ticker, sector in TICKERS.items()]
    (data / "sectors.csv").write_text("ticker,sector,known_at\n" + "\n".join(listed) + "\n")
    profile = {
        **SMALL,
        "source": "files",
        "as_of": f"{AS_OF}",
        "partitions": {"start": FIRST},
        "revisions": {"settle_minutes": 0, "tick_seconds": 1},
        "files": {
            "prices": [{"file": "{ticker}.csv", "provider": "own", "adjustment": "as_traded"}],
            "membership": {"file": "index.csv"},
            "securities": {"file": "sectors.csv", "sectors": {sector: sector for sector in SECTORS}},
        },
        **settings,
    }
    (conf / "base.yaml").write_bytes((PROJECT / "conf" / "base.yaml").read_bytes())
    (conf / "dagster.yaml").write_bytes((PROJECT / "conf" / "dagster.yaml").read_bytes())
    (conf / "profiles" / f"{name}.yaml").write_text(yaml.safe_dump(profile))
    return data


def select_profile(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = "own") -> None:
    """The environment of a folder that `write_profile` has made."""
    for variable, value in {
        "QUANT_CONF_DIR": str(folder / "conf"),
        "QUANT_DATA_DIR": str(folder / "data"),
        "QUANT__STORAGE": str(folder / "storage"),
        "QUANT__DAGSTER__STORAGE": "sqlite",
        "QUANT_PROFILE": name,
        "DAGSTER_HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }.items():
        monkeypatch.setenv(variable, value)


def partitions(keys: Sequence[str]) -> list[str]:
    """`sector first..last` of neighbouring keys, for a short assertion."""
    found: dict[str, list[str]] = {}
    for each in sorted(keys):
        month, _, sector = each.partition("|")
        found.setdefault(sector, []).append(month)
    return [f"{sector} {months[0]}..{months[-1]} {len(months)}".strip() for sector, months in sorted(found.items())]
