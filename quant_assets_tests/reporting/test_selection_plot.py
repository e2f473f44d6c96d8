"""The picture of candidates: drawn for one month, many, one sector, several and nobody, always with the same bytes."""

import hashlib
import io
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from quant_assets.reporting.selection_plot import selection_png
from quant_assets.settings.domain import CandidateSettings
from quant_assets.signals.selection import Selection, selection, turnover
from quant_assets_tests.graph import PROJECT, demo_datasets

DATASETS = demo_datasets()

DAYS = [date(2023 + month // 12, month % 12 + 1, 15) for month in range(18)]


def drawn(sectors: int, days: int, count: int = 24) -> bytes:
    chosen: dict[str, Selection] = {}
    for sector in range(sectors):
        rows = [
            {
                "ticker": f"T{place:02d}",
                "date": day,
                "close": 10.0,
                "momentum": ((place * 7 + month * month + sector) % 24) / 24,
                "ma_slope": ((place * 5 + month) % 24) / 240,
                "garch_volatility": None if place % 6 == 0 and month < 9 else 0.2 + place / 100,
                "dollar_volume": 1e8 if (place + month) % 8 else 0.0,
                "history_sessions": 252,
                "garch_status": "too_young" if place % 6 == 0 and month < 9 else "fitted",
            }
            for month, day in enumerate(DAYS[:days])
            for place in range(count)
        ]
        given = pl.DataFrame(rows, schema=DATASETS["indicators"].schema)
        chosen[f"sector {sector}"] = selection(given, given, DAYS[:days], CandidateSettings())
    return selection_png(chosen, {sector: turnover(each.candidates, DAYS[:days]) for sector, each in chosen.items()})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sectors", "days", "count"), [(1, 1, 24), (1, 18, 24), (11, 18, 24), (3, 1, 24), (1, 18, 1), (2, 5, 0)]
)
def test_it_is_drawn_whatever_there_is(sectors: int, days: int, count: int) -> None:
    content = drawn(sectors, days, count)
    assert Image.open(io.BytesIO(content)).size == (860, 520)
    assert len(content) < 70_000
    assert drawn(sectors, days, count) == content


@pytest.mark.slow
def test_the_picture_says_something_of_what_it_is_given() -> None:
    assert len({drawn(1, 1), drawn(1, 18), drawn(2, 18), drawn(1, 18, 23), drawn(1, 18, 0)}) == 5


@pytest.mark.slow
def test_the_same_bytes_in_another_process_with_another_matplotlibrc(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(
        "axes.linewidth: 5\nlegend.fontsize: 20\nlines.marker: x\n", encoding="utf-8"
    )
    code = (
        "import sys, hashlib; import quant_assets.assets.candidate_metadata; assert 'matplotlib' not in sys.modules; "
        "from quant_assets_tests.reporting.test_selection_plot import drawn; "
        "print(hashlib.sha256(drawn(2, 18)).hexdigest())"
    )
    environment = os.environ | {
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        "MPLCONFIGDIR": str(tmp_path),
        "PYTHONHASHSEED": "7",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == hashlib.sha256(drawn(2, 18)).hexdigest()
