"""The page of one stock: complete, self-contained, escaped, the same bytes for the same content."""

import html
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.partitions import key
from quant_assets.portfolio.valuation.dcf import two_stage
from quant_assets.reporting.stock_data import Stock, gather
from quant_assets.reporting.stock_page import render
from quant_assets.settings.scoring import ScoreSettings
from quant_assets_tests.synthetic_scores import AS_OF, LAST, SECTOR, write

NAUGHTY = "T<b>&"


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    profile = write(tmp_path_factory.mktemp("scored"))
    read = profile.store.read
    found = {
        name: read(profile.datasets[name], profile.store.existing(profile.datasets[name])).drop("month").collect()
        for name in ("prices", "fundamentals", "predictions")
    }
    found["scores"] = read(profile.datasets["scores"], [key(SECTOR, LAST)]).drop("month").collect()
    renamed = pl.when(pl.col("ticker") == "T00").then(pl.lit(NAUGHTY)).otherwise("ticker").alias("ticker")
    return {name: frame.with_columns(renamed) for name, frame in found.items()} | {"settings": profile.settings.scores}  # type: ignore[dict-item]


def stock(frames: dict[str, pl.DataFrame], **more: pl.DataFrame) -> Stock:
    given = frames | more
    return gather(
        NAUGHTY,
        SECTOR,
        AS_OF,
        *(given[name] for name in ("scores", "prices", "predictions", "fundamentals", "settings")),  # type: ignore[arg-type]
    )


def test_the_page_is_complete_escaped_and_needs_nothing_else(frames: dict[str, pl.DataFrame]) -> None:
    page = render(stock(frames), "Simulated market").decode()
    assert NAUGHTY not in page
    assert html.escape(NAUGHTY) in page
    for words in (
        "Simulated market",
        "EV/EBITDA",
        "Forecasts of the session",
        "Fair value by discount rate",
        "2024-03-31",
    ):
        assert words in page, words
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "<script" not in page
    assert "nan" not in page.lower().replace("finance", "").replace("financ", "")


def test_the_same_content_gives_the_same_bytes(frames: dict[str, pl.DataFrame]) -> None:
    assert render(stock(frames)) == render(stock(frames))


def test_what_becomes_known_later_is_not_on_it(frames: dict[str, pl.DataFrame]) -> None:
    expected = render(stock(frames))
    after = pl.lit(date(2024, 7, 31))
    later = {
        "prices": frames["prices"].tail(1).with_columns(pl.lit(NAUGHTY).alias("ticker"), date=after, close=pl.lit(1e9)),
        "predictions": frames["predictions"].with_columns(date=after, prediction=pl.lit(9.0)),
        "fundamentals": frames["fundamentals"].with_columns(known_at=after, revenue=pl.lit(7e12)),
    }
    mixed = {name: pl.concat([frames[name], rows.select(frames[name].columns)]) for name, rows in later.items()}
    assert render(stock(frames, **mixed)) == expected


def test_prices_are_at_the_level_of_the_last_close(frames: dict[str, pl.DataFrame]) -> None:
    drawn = stock(frames).prices
    assert drawn["close"][-1] == pytest.approx(50.0)
    assert drawn["sma_50"][-1] == pytest.approx(drawn["close"].tail(50).mean())


def test_a_stock_of_which_little_is_known_has_a_page(frames: dict[str, pl.DataFrame]) -> None:
    own = pl.col("ticker") == NAUGHTY
    unknown = {
        name: pl.when(~own).then(name).alias(name)
        for name in ("close_unadjusted", "revenue_growth", "free_cash_flow", "fair_value", "upside", "graham_value")
    }
    reason = pl.when(own).then(pl.lit("free cash flow is not known")).otherwise("no_fair_value").alias("no_fair_value")
    no_forecast = pl.when(~own).then("ml_forecasts").otherwise(0).cast(pl.Int32).alias("ml_forecasts")
    given = frames["scores"].with_columns(*unknown.values(), reason, no_forecast)
    few = stock(
        frames,
        scores=given,
        prices=frames["prices"].clear(),
        predictions=frames["predictions"].clear(),
        fundamentals=frames["fundamentals"].clear(),
    )
    assert few.values is None
    page = render(few).decode()
    assert page.count("free cash flow is not known") >= 2, "in the tile and in the place of the grid"
    assert "no forecast at this session" in page
    assert "None: no model had a checkpoint then." in page


def test_the_grid_has_the_fair_value_in_its_middle(frames: dict[str, pl.DataFrame]) -> None:
    found = stock(frames)
    assert found.values is not None
    assert found.values.per_share[2, 2] == pytest.approx(found.score["fair_value"], rel=1e-12)


def test_a_flow_to_the_shareholders_has_no_debt_taken_off(frames: dict[str, pl.DataFrame]) -> None:
    given: ScoreSettings = frames["settings"]  # type: ignore[assignment]
    dcf = given.dcf.model_copy(update={"flow_to": "equity", "cost_of_equity": 0.11})
    found = stock(frames, settings=given.model_copy(update={"dcf": dcf}))
    score = found.score
    assert score["net_debt"] > 0.0
    expected = two_stage(
        score["free_cash_flow"],
        found.growth,
        0.0,
        score["shares_outstanding"],
        wacc=0.11,
        terminal_growth=dcf.terminal_growth,
        years=dcf.years,
    )
    assert found.values is not None
    assert found.values.per_share[2, 2] == pytest.approx(float(expected.per_share), rel=1e-12)
    assert "less net debt" not in render(found).decode()
    of_firm = given.model_copy(update={"dcf": given.dcf.model_copy(update={"flow_to": "firm"})})
    assert "less net debt" in render(stock(frames, settings=of_firm)).decode()


def test_no_file_is_needed(frames: dict[str, pl.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = render(stock(frames))
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert render(stock(frames)) == expected
