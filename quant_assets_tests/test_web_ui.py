"""One partition materialised by clicking in Dagster's web UI, in a real Chromium; skipped where there is none."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.io.store import DatasetStore
from quant_assets_tests.graph import PROJECT, demo_datasets
from quant_assets_tests.web_pages import browser_page, needs_browser, served

pytestmark = pytest.mark.slow

AS_OF = "2024-06-28"


@pytest.fixture
def web_ui(tmp_path: Path) -> Iterator[str]:
    """`dagster dev` on a free port of the loopback address, after `dagster asset materialize` of the bars and
    candidates of June 2024."""
    storage, home = tmp_path / "storage", tmp_path / "home"
    home.mkdir()
    shutil.copyfile(PROJECT / "conf" / "dagster.yaml", home / "dagster.yaml")
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "QUANT__STORAGE": str(storage),
        "QUANT__AS_OF": AS_OF,
        "QUANT_PROFILE": "demo",
    }
    dagster = str(Path(sys.executable).parent / "dagster")
    indicators_written(storage)
    chosen = "ohlcv,quarantine,price_events,price_disagreements,price_peaks,absences,delistings,candidates"
    first = ["asset", "materialize", "-m", "quant_assets.definitions", "--select", chosen]
    subprocess.run(
        [dagster, *first, "--partition", "2024-06|healthcare"],
        env=environment,
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )
    with served([dagster, "dev", "-m", "quant_assets.definitions"], tmp_path / "log", environment) as url:
        yield url


def indicators_written(storage: Path) -> None:
    """What candidates read, made by hand: three years of prices would take long."""
    day = date.fromisoformat(AS_OF)
    rows = pl.DataFrame(
        {
            "sector": ["healthcare"] * 20,
            "ticker": [f"T{place:02d}" for place in range(20)],
            "date": [day] * 20,
            "close": [10.0] * 20,
            "momentum": [0.01 * place for place in range(20)],
            "ma_slope": [0.001 * (place % 7) for place in range(20)],
            "garch_volatility": [0.2 + 0.01 * (place % 5) for place in range(20)],
            "history_sessions": [252] * 20,
            "garch_status": ["fitted"] * 20,
        }
    )
    store = DatasetStore(str(storage / "demo"))
    for name, extra in (("indicators", {}), ("universe", {"sector_assumed": [False] * 20})):
        columns = demo_datasets()[name].empty().schema
        given = rows.with_columns(**{column: pl.Series(values) for column, values in extra.items()})
        given = given.select(
            pl.col(column).cast(dtype) if column in given.columns else pl.lit(None, dtype).alias(column)
            for column, dtype in columns.items()
        )
        store.write(demo_datasets()[name], given, ["2024-06|healthcare"], lambda _: day)


@needs_browser
def test_a_partition_is_materialised_by_clicking(web_ui: str, tmp_path: Path) -> None:
    file = tmp_path / "storage" / "demo" / "prices" / "sector=healthcare" / "month=2024-06" / "part-0.parquet"
    assert not file.exists()
    with browser_page() as page:
        page.goto(f"{web_ui}/assets/prices?view=partitions")
        page.get_by_text(
            re.compile(r"^\d+ Partitions Selected$")
        ).wait_for()  # before that the button knows no partitions
        page.get_by_role("button", name="Materialize").first.click()
        dialog = page.locator("[role=dialog][aria-modal=true]")  # menus inside it are dialogs too
        dialog.get_by_placeholder(re.compile("2018-01")).fill("2024-06")
        page.keyboard.press("Enter")
        dialog.get_by_text("Select a partition or create one").click()
        page.get_by_role("menuitem").filter(has_text="healthcare").click()
        page.keyboard.press("Escape")
        dialog.get_by_text("1 partition").first.wait_for()
        dialog.get_by_role("button", name=re.compile("^Launch")).click()
        dialog.wait_for(state="detached")
        page.goto(f"{web_ui}/runs")
        page.get_by_text("Success").first.wait_for(timeout=120_000)
        page.goto(f"{web_ui}/assets/prices?view=partitions&partition=2024-06%7Chealthcare")
        page.get_by_text("Materialized (1)").wait_for()
        page.goto(f"{web_ui}/assets/prices?view=overview")
        page.get_by_text("last price of the session").first.wait_for()
        page.goto(f"{web_ui}/assets/candidates?view=partitions&partition=2024-06%7Chealthcare")
        page.get_by_text("eligible_share").wait_for()
        page.get_by_text("Show Markdown").click()
        picture = page.locator("img[alt='scores, coverage and turnover']")
        picture.wait_for()
        assert picture.evaluate("image => [image.complete, image.naturalWidth, image.clientWidth]") == [True, 860, 860]
    rows = pl.read_parquet(file)
    assert len(rows) > 300
    assert rows["close"].is_not_null().all()
