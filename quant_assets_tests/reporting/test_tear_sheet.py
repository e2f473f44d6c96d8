"""Pages of tear sheets: complete, self-contained, escaped, the same bytes for the same figures."""

import base64
import hashlib
import html
import json
import re
from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.backtest.factor_summary import Summary, market_rows, spread_correlations
from quant_assets.reporting.tear_sheet import render, render_market, strongest
from quant_assets.reporting.tear_sheet_plot import strongest_png
from quant_assets.schemas import DATASETS

AS_OF = date(2024, 6, 28)
NAUGHTY = "a</script><b>"
_TILE = re.compile(r'<div class="label">(.*?)</div><div class="figure">(.*?)</div><div class="note">(.*?)</div>')


def row(factor: str, horizon: int, ic: float | None, t: float | None, kind: str = "feature") -> dict[str, object]:
    figures = dict.fromkeys(("ic_std", "ic_standard_error", "names"), 0.1 if ic is None else 0.02 + abs(ic))
    figures |= {f"quantile_{number}": None if ic is None else ic * (number - 3) for number in range(1, 6)}
    figures |= {"top_turnover": 0.25, "bottom_turnover": None, "rank_autocorrelation": 0.9}
    counts = dict.fromkeys(("months", "ic_sessions", "quantile_sessions", "turnover_sessions", "rank_sessions"), 24)
    return {"as_of": AS_OF, "kind": kind, "factor": factor, "horizon": horizon, "ic": ic, "ic_t": t} | counts | figures


@pytest.fixture
def sheet() -> Summary:
    rows = [row(NAUGHTY, 20, 0.03, 1.5), row(NAUGHTY, 60, 0.05, None), row("lightgbm", 60, -0.02, -0.4, "model")]
    rows += [
        row(name, horizon, ic, t)
        for name in ("weak", "weak_sector_rank")
        for horizon, ic, t in ((20, -0.08, -3.2), (60, None, None))
    ]
    schema = {name: dtype for name, dtype in DATASETS["factor_tear_sheet"].schema.items() if name != "page_file"}
    years = [
        (name, 20, year, ic)
        for name in (NAUGHTY, "weak", "weak_sector_rank")
        for year, ic in ((2022, 0.123456), (2024, -0.01))
    ]
    by_year = pl.DataFrame(
        [{"kind": "feature", "factor": n, "horizon": h, "year": y, "ic_sessions": 9, "ic": v} for n, h, y, v in years],
        schema={
            "kind": pl.String,
            "factor": pl.String,
            "horizon": pl.Int32,
            "year": pl.Int32,
            "ic_sessions": pl.Int32,
            "ic": pl.Float64,
        },
    )
    return Summary(AS_OF, pl.DataFrame(rows, schema=schema).sort("kind", "factor", "horizon"), by_year, by_month())


def by_month() -> pl.DataFrame:
    """Three factors over 24 months: `weak` and another one against it, and one with a spread of its own."""
    spreads = np.random.default_rng(5).normal(0.0, 0.02, (2, 24))
    rows = [
        {"kind": "feature", "factor": factor, "horizon": 20, "as_of": date(2022 + month // 12, month % 12 + 1, 28)}
        | {"ic": spread * 2}
        | {f"quantile_{number}": spread * (number - 3) / 4 for number in range(1, 6)}
        for factor, series in ((NAUGHTY, -spreads[0]), ("weak", spreads[0]), ("weak_sector_rank", spreads[1]))
        for month, spread in enumerate(series)
    ]
    return pl.DataFrame(rows, schema_overrides={"horizon": pl.Int32})


def table(page: str) -> list[list[str]]:
    body = re.search(r'id="overview">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert body is not None
    cells = (re.findall(r"<td[^>]*>(.*?)</td>", each, re.DOTALL) for each in body[1].split("</tr>")[:-1])
    return [[" ".join(html.unescape(re.sub(r"<[^>]*>", " ", cell)).split()) for cell in row] for row in cells]


def test_the_table_is_there_without_scripts_and_by_t(sheet) -> None:
    found = table(render(sheet, "Health Care", 20, 1).decode())
    assert [each[0] for each in found] == ["weak same figures: weak_sector_rank", NAUGHTY, "lightgbm"]
    assert found[0][1:] == ["feature", "−0.080", "−3.2", "−0.80", "−32.00%", "25%", "0.90", "0"]
    assert found[2][1:5] == ["model", "–", "–", "–"], "no forecast at the horizon that is shown"


def test_the_data_of_the_plots_is_what_the_sheet_says(sheet) -> None:
    page = render(sheet, "Health Care", 20, 1, {"weak": "what it <means>"}).decode()
    text = re.search(r'<script type="application/json" id="factors">(.*?)</script>', page, re.DOTALL)
    assert text is not None
    data = json.loads(text[1])
    weak, naughty, model = data["factors"]
    assert (weak["factor"], weak["meaning"], naughty["factor"]) == ("weak", "what it <means>", NAUGHTY)
    assert dict(zip(data["columns"], weak["by_horizon"]["20"], strict=True))["ic_t"] == -3.2
    assert dict(zip(data["columns"], weak["by_horizon"]["60"], strict=True))["ic"] is None
    assert data["years"] == ["2022", "2024"]
    assert weak["by_year"]["20"] == [0.123, -0.01]
    assert list(model["by_horizon"]) == ["60"]
    assert (data["months"][0], data["months"][-1], data["months_horizon"]) == ("2022-01", "2023-12", 20)
    march = sheet.by_month.filter(factor="weak", as_of=date(2022, 3, 28)).row(0, named=True)
    assert weak["by_month"]["ic"][2] == round(march["ic"], 4)
    assert weak["by_month"]["quantiles"][2] == [round(march[f"quantile_{number}"], 6) for number in range(1, 6)]
    assert model["by_month"] is None, "no forecast at the horizon whose months are drawn"


def test_factors_that_are_one_bet_are_shown_as_such(sheet) -> None:
    names = [("feature", name) for name in (NAUGHTY, "weak", "weak_sector_rank", "none")]
    found = spread_correlations(sheet.by_month, names, 20)
    spread = sheet.by_month.sort("as_of").select("factor", spread=pl.col("quantile_5") - pl.col("quantile_1"))
    series = [spread.filter(factor=name)["spread"].to_numpy() for _, name in names[:3]]
    np.testing.assert_allclose(found[:3, :3], np.corrcoef(series), rtol=1e-12)
    assert np.isnan(found[3]).all()
    assert np.isnan(spread_correlations(sheet.by_month, names, 20, min_months=25)).all()
    page = render(sheet, "Health Care", 20, 1).decode()
    table = page[page.index('<table class="correlations">') :]
    cells = re.findall(r"<td class=\"shaded \w+\"[^>]*>(.*?)</td>", table)
    assert cells == ["1.00", "−1.00", "−1.00", "1.00"], "the model has no months, and weak_sector_rank the same figures"


def test_nothing_comes_from_elsewhere_and_the_policy_allows_one_script(sheet) -> None:
    page = render(sheet, "Health Care", 20, 1, market="Simulated market").decode()
    assert not re.search(r"(https?:)?//(?!www\.w3\.org/2000/svg)[a-z]+\.", page)
    assert " src=" not in page
    assert NAUGHTY not in page
    policy = re.search(r"script-src '(sha256-[^']+)'", page)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert policy is not None
    assert [f"sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}" for each in scripts] == [
        policy[1]
    ]
    assert "Simulated market" in page
    assert page == render(sheet, "Health Care", 20, 1, market="Simulated market").decode()


def test_a_sheet_without_rows_says_so(sheet) -> None:
    page = render(
        Summary(AS_OF, sheet.rows.clear(), sheet.by_year.clear(), sheet.by_month.clear()), "Health Care", 20, 1
    ).decode()
    assert "No cross-section had enough names yet." in page
    rows = sheet.rows.clear().with_columns(sector=pl.lit("it"))
    assert "No sector has a tear sheet" in render_market(AS_OF, market_rows(rows), rows, 20).decode()


def test_the_markets_page_has_every_sector(sheet) -> None:
    sheets = pl.concat(sheet.rows.with_columns(sector=pl.lit(sector)) for sector in ("it", "energy"))
    rows = market_rows(sheets)
    page = render_market(AS_OF, rows, sheets, 20).decode()
    heads = re.findall(r'<th scope="col".*?>([^<>]+)</button>', page)
    assert heads[-2:] == ["Energy", "Information Technology"]
    assert page.count("−0.080") == 3 + 1, "two sectors, all sectors, and the tile"
    assert NAUGHTY not in page


def tiles(page: str) -> dict[str, str]:
    return {name: f"{value}; {note}" for name, value, note in _TILE.findall(page)}


def test_only_figures_with_a_t_count_as_tried(sheet) -> None:
    """At 20 sessions 24 months take |t| of 2.46: the weak factor's 3.2 is significant, that of 2.3 is not."""
    untried = [row(f"new_{number}", 20, 0.01 + number / 1000, None) for number in range(60)]
    tried = [row(f"old_{number}", 20, 0.1 + number / 1000, 2.3) for number in range(18)]
    rows = pl.concat([sheet.rows, pl.DataFrame(untried + tried, schema=sheet.rows.schema)])
    page = render(Summary(AS_OF, rows, sheet.by_year, sheet.by_month), "Health Care", 20, 1).decode()
    assert tiles(page)["Significant"] == "1; of 20 with a t; about 1 by chance alone"
    assert tiles(page)["Critical |t|"] == "2.5; with 24 months"
    assert "of the 20 with a t at 20 sessions, about 1 would be significant by chance alone" in page
    sheets = pl.concat(rows.with_columns(sector=pl.lit(sector)) for sector in ("it", "energy"))
    page = render_market(AS_OF, market_rows(sheets), sheets, 20).decode()
    assert tiles(page)["Significant pairs of factor and sector"] == "2; of 40; about 2 by chance alone"
    assert "of 40 pairs of a factor and a sector with a t, about 2 would be" in page


def test_the_strongest_are_shown_once_and_drawn(sheet) -> None:
    best = strongest(sheet.rows, 20)
    assert best["factor"].to_list() == ["weak", NAUGHTY]
    picture = strongest_png(best, "Health Care, 2024-06")
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 40_000
    assert strongest(sheet.rows, 60)["factor"].to_list() == ["lightgbm"]
