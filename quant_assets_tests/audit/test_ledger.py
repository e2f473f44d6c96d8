"""The ledger against today's recomputation: nothing differs where nothing changed, and each change is told by its
cause."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from quant_assets.assets.live import DECISIONS
from quant_assets.audit.ledger import Compared, Comparison
from quant_assets.graph import build_defs
from quant_assets.profile import Profile
from quant_assets_tests.synthetic_live import DAYS, LAST, live_settings, materialised, months_written

pytestmark = pytest.mark.slow

Change = Callable[[str, str, pl.DataFrame], pl.DataFrame]
DAY = DAYS[4]


def compared(profile: Profile) -> Compared:
    (found,) = Comparison(profile, build_defs(profile)).compared(["it"], DAY, DAY)
    return found


def said(folder: Path) -> Profile:
    profile = Profile(live_settings(folder))
    months_written(profile, LAST, first=DAY, sectors=["it"])
    assert materialised(profile, DECISIONS, DAY, DAY, ["it"])[0]
    return profile


def restated(name: str, sector: str, rows: pl.DataFrame) -> pl.DataFrame:
    if name == "prices":
        return rows.with_columns(close=pl.col("close") + 1.0)
    if name == "indicators":
        return rows.with_columns(momentum=pl.col("momentum").reverse())
    return rows


def another_checkpoint(name: str, sector: str, rows: pl.DataFrame) -> pl.DataFrame:
    if name != "predictions":
        return rows
    return rows.with_columns(prediction=pl.col("prediction").reverse(), model_version=pl.lit("v2"))


def test_each_change_is_told_by_its_cause(tmp_path: Path) -> None:
    profile = said(tmp_path)
    found = compared(profile)
    assert (found.differences, found.late) == ((), 1)
    assert found.rows > 20

    again = Profile(live_settings(tmp_path))
    months_written(again, LAST, first=DAY, sectors=["it"], change=restated)
    differences = compared(again).differences
    assert {each.item for each in differences} >= {"candidate"}
    assert {each.cause for each in differences} == {"restated input"}
    assert {each.why for each in differences if each.item == "candidate"} == {"rows of the day in prices, indicators"}

    again = Profile(live_settings(tmp_path))
    months_written(again, LAST, first=DAY, sectors=["it"], change=another_checkpoint)
    differences = compared(again).differences
    assert {each.item for each in differences} >= {"forecast"}
    assert {each.cause for each in differences} == {"another checkpoint"}

    again = Profile(live_settings(tmp_path, candidates={"min_history_sessions": 60, "momentum_weight": 0.0}))
    months_written(again, LAST, first=DAY, sectors=["it"])
    differences = compared(again).differences
    assert differences
    assert {each.cause for each in differences} == {"changed code or settings"}
    assert "candidates.momentum_weight 0.5 -> 0.0" in differences[0].why
