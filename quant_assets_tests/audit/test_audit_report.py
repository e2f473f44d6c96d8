"""The page of an audit: verdicts by asset and test, failures in full, warm-up, and nothing that could run."""

import re
from dataclasses import replace
from datetime import date

from quant_assets.audit.findings import AuditResult, Comparison, Exempt
from quant_assets.audit.report import bar_length, cell, render

CUT = date(2024, 4, 15)
FAILED = Comparison(
    "features",
    "truncation",
    CUT,
    "return_5",
    300,
    21,
    date(2024, 4, 12),
    "AAPL",
    "it",
    "ticker=AAPL, date=2024-04-12",
    "0.01",
    "null",
    None,
    "a shift <back> & more",
)
RESULT = AuditResult(
    "demo",
    ("it",),
    "2022-05",
    "2024-04",
    81.0,
    (
        Comparison("prices", "truncation", CUT, compared=5_000),
        FAILED,
        Comparison(
            "candidates",
            "truncation",
            CUT,
            "composite_score",
            40,
            3,
            date(2024, 4, 30),
            cause="later",
            inherited_from="features",
            through="prices, volumes",
        ),
        Comparison(
            "prices",
            "warm_up",
            None,
            "close",
            400,
            400,
            CUT,
            "A",
            deviation=0.25,
            cause="c",
            declared="from the first bar",
        ),
        Comparison("macro", "publication", CUT),
    ),
    ("order was left out",),
)


def test_a_cell_says_what_a_test_found() -> None:
    assert [cell(RESULT, asset, "truncation").state for asset in ("prices", "features", "macro")] == [
        "ok",
        "failed",
        "none",
    ]
    assert cell(RESULT, "prices", "truncation").text == "5,000"
    assert cell(RESULT, "prices", "warm_up").state == "declared"
    assert cell(RESULT, "macro", "publication").state == "empty"


def test_the_page_names_column_day_ticker_values_cause_and_root() -> None:
    page = render(RESULT, "Simulated market").decode()
    text = re.sub(r"<[^>]+>", " ", page)
    for said in (
        "2 differences",
        "2 differences that must not be, of features, candidates. not tested although asked for: 2 (order was left out",
        "2 not tested",
        "prices, volumes",
        "return_5",
        "21 of 300",
        "2024-04-12",
        "AAPL",
        "0.01",
        "null",
        "inherits from features",
        "Simulated market",
    ):
        assert said in text, said
    assert "a shift &lt;back&gt; &amp; more" in page
    assert "order was left out" in text
    assert "from the first bar" in text
    assert "No look-ahead found" not in text
    assert text.index("Differences that must not be") < text.index("inherits from features") < text.index("Warm-up")
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "prefers-color-scheme: dark" in page


def test_a_page_without_findings_says_so_and_is_the_same_whenever_it_is_made() -> None:
    clean = AuditResult("demo", ("it",), "2022-05", "2024-04", 81.0, RESULT.comparisons[:1])
    page = render(clean)
    assert b"No look-ahead found" in page
    assert b"no look-ahead found in all that was asked" in page
    assert b"What was not tested" not in page
    assert b"What differs" not in page
    assert page == render(AuditResult("demo", ("it",), "2022-05", "2024-04", 12.5, RESULT.comparisons[:1]))


def test_a_bar_grows_with_the_power_of_ten() -> None:
    assert [bar_length(each) for each in (0.0, 1e-15, 1e-6, 1.0, float("inf"))] == [2.0, 2.0, 50.0, 100.0, 100.0]


def test_the_page_tells_what_need_not_be_tested_from_what_was_not() -> None:
    page = render(replace(RESULT, notes=("order was left out", Exempt("by promise")))).decode()
    untested, exempt = page.index("Although requested"), page.index("By declaration")
    assert untested < page.index("<li>order was left out") < exempt < page.index("<li>by promise")
