"""Coverage, turnover and comparison of selections, by hand."""

from datetime import date

import polars as pl
import pytest

from quant_assets.settings.domain import CandidateSettings
from quant_assets.signals.selection import by_reason, compare, coverage, selection, turnover
from quant_assets_tests.graph import demo_datasets

DATASETS = demo_datasets()

MAY, JUNE, JULY = date(2024, 5, 31), date(2024, 6, 28), date(2024, 7, 31)


def rows(*chosen: tuple[date, str, str, int, float]) -> pl.DataFrame:
    schema = {
        "as_of": pl.Date,
        "ticker": pl.String,
        "candidate_type": pl.String,
        "selection_rank": pl.Int32,
        "composite_score": pl.Float64,
    }
    return pl.DataFrame(chosen, schema=schema, orient="row")


def side(day: date, kind: str, tickers: str) -> list[tuple[date, str, str, int, float]]:
    return [(day, ticker, kind, rank + 1, 1.0 - rank) for rank, ticker in enumerate(tickers)]


def test_turnover_is_the_share_of_new_names_of_a_side() -> None:
    chosen = rows(
        *side(MAY, "long", "ABCD"), *side(MAY, "short", "XY"), *side(JUNE, "long", "ABXE"), *side(JUNE, "short", "YX")
    )
    (june,) = turnover(chosen, [MAY, JUNE]).rows(named=True)
    assert june == {"as_of": JUNE, "long_turnover": 0.5, "short_turnover": 0.0}, (
        "X was not long before, though it was chosen"
    )


def test_turnover_against_nothing_or_of_nothing_is_unknown() -> None:
    chosen = rows(*side(MAY, "long", "A"), *side(JULY, "long", "A"), *side(JULY, "short", "B"))
    assert turnover(chosen, [MAY, JUNE, JULY]).rows() == [(JUNE, None, None), (JULY, None, None)]
    assert turnover(chosen, [MAY, JULY]).rows() == [(JULY, 0.0, None)]
    assert turnover(chosen, [JULY]).is_empty()
    assert turnover(chosen.clear(), []).is_empty()


def test_comparison_names_what_enters_leaves_moves_and_stays() -> None:
    before = rows(*side(JUNE, "long", "ABC"), *side(JUNE, "short", "XYZ"), *side(MAY, "long", "Q"))
    after = rows(*side(JUNE, "long", "BDX"), *side(JUNE, "short", "ZY"), *side(MAY, "long", "Q"))
    result = compare(before, after)
    assert result.select("as_of", "ticker", "change", "selection_rank_before", "selection_rank_after").rows() == [
        (MAY, "Q", "stays", 1, 1),
        (JUNE, "B", "stays", 2, 1),
        (JUNE, "D", "enters", None, 2),
        (JUNE, "X", "moves", 1, 3),
        (JUNE, "Z", "stays", 3, 1),
        (JUNE, "Y", "stays", 2, 2),
        (JUNE, "A", "leaves", 1, None),
        (JUNE, "C", "leaves", 3, None),
    ]
    moved = result.row(by_predicate=pl.col("ticker") == "X", named=True)
    assert (moved["candidate_type_before"], moved["candidate_type_after"]) == ("short", "long")
    assert (moved["composite_score_before"], moved["composite_score_after"]) == (1.0, -1.0)
    assert compare(before.clear(), after.clear()).is_empty()


def indicators(count: int) -> pl.DataFrame:
    result = [
        {
            "ticker": f"T{i}",
            "date": day,
            "close": 10.0,
            "momentum": 0.01 * i * i,
            "ma_slope": -0.001 * i,
            "garch_volatility": None if i == 0 else 0.2 + 0.01 * i,
            "dollar_volume": 0.0 if i == 1 else 1e8,
            "history_sessions": 252,
            "garch_status": "too_young" if i == 0 else "fitted",
        }
        for day in (MAY, JUNE)
        for i in range(count)
    ]
    return pl.DataFrame(result, schema=DATASETS["indicators"].schema)


def test_coverage_counts_members_bars_volatilities_and_eligible_names() -> None:
    rows = indicators(6)
    members = pl.concat([rows.select("ticker", "date"), pl.DataFrame({"ticker": ["NOBAR"], "date": [JUNE]})])
    result = selection(rows, members, [JUNE, MAY, JULY], CandidateSettings())
    assert result.coverage.rows(named=True) == [
        {"as_of": MAY, "members": 6, "with_bar": 6, "with_garch_volatility": 5, "eligible": 5},
        {"as_of": JUNE, "members": 7, "with_bar": 6, "with_garch_volatility": 5, "eligible": 5},
        {"as_of": JULY, "members": 0, "with_bar": 0, "with_garch_volatility": 0, "eligible": 0},
    ]
    assert coverage(rows.clear(), members.clear(), result.scored.clear(), []).is_empty()


def test_who_is_left_out_is_named_with_the_first_reason() -> None:
    rows = indicators(6).with_columns(
        garch_status=pl.when(pl.col("date") == JUNE, pl.col("ticker") == "T0")
        .then(pl.lit("too_few_bars"))
        .otherwise("garch_status"),
        history_sessions=pl.when(pl.col("ticker") == "T5").then(60).otherwise("history_sessions").cast(pl.Int32),
        momentum=pl.when(pl.col("ticker") != "T5").then("momentum"),
        garch_volatility=pl.when(pl.col("ticker") == "T4").then(1.6).otherwise("garch_volatility"),
    )
    members = pl.concat([rows.select("ticker", "date"), pl.DataFrame({"ticker": ["NOBAR"], "date": [JUNE]})])
    result = selection(rows, members, [MAY, JUNE], CandidateSettings())
    always = {"illiquid": ["T1"], "short_history": ["T5"], "volatility_outside": ["T4"]}
    assert by_reason(result.excluded.filter(pl.col("as_of") == MAY)) == always
    june = always | {"no_bar": ["NOBAR"], "volatility_unknown": ["T0"]}
    assert by_reason(result.excluded.filter(pl.col("as_of") == JUNE)) == june
    for row in result.coverage.rows(named=True):
        assert row["members"] - row["eligible"] == len(result.excluded.filter(pl.col("as_of") == row["as_of"]))


def test_names_have_the_scores_of_those_that_are_not_chosen_too() -> None:
    rows = indicators(9)
    one = selection(rows, rows, [JUNE], CandidateSettings())
    other = selection(
        rows, rows, [JUNE], CandidateSettings(momentum_weight=0.0, moving_average_weight=1.0, volatility_weight=0.0)
    )
    assert one.names.drop("candidate_type", "selection_rank").equals(one.scored)
    assert one.names.filter(pl.col("candidate_type").is_not_null()).height == one.candidates.height < one.scored.height
    result = compare(one.names, other.names)
    assert set(result["ticker"]) == set(one.candidates["ticker"]) | set(other.candidates["ticker"])
    assert result["composite_score_before"].null_count() == result["composite_score_after"].null_count() == 0
    left = result.row(by_predicate=pl.col("change") == "leaves", named=True)
    assert left["composite_score_after"] == pytest.approx(
        dict(other.scored.select("ticker", "composite_score").rows())[left["ticker"]], abs=0
    )
