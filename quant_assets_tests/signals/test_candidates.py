from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import CandidateSettings
from quant_assets.settings.loading import load_settings
from quant_assets.signals.candidates import candidates, standardise
from quant_assets.signals.indicators import dataset

DAY, LATER = date(2024, 6, 28), date(2024, 7, 31)
SETTINGS = CandidateSettings()
#: Everybody is chosen, so that every eligible name's scores can be read.
ALL = CandidateSettings(long_fraction=0.5, short_fraction=0.5)


def frame(count: int = 20, day: date = DAY, seed: int = 1, **columns: list[object]) -> pl.DataFrame:
    """Indicators of one session; `columns` replaces whole columns."""
    rng = np.random.default_rng(seed)
    result = {
        "ticker": [f"T{i:02d}" for i in range(count)],
        "date": [day] * count,
        "close": [10.0] * count,
        "moving_average": [10.0] * count,
        "ma_slope": (0.01 * rng.normal(size=count)).tolist(),
        "momentum": (0.2 * rng.normal(size=count)).tolist(),
        "garch_volatility": rng.uniform(0.15, 0.6, count).tolist(),
        "garch_fitted_on": [date(2024, 5, 31)] * count,
        "dollar_volume": [1e8] * count,
        "history_sessions": [252] * count,
        "garch_status": ["fitted"] * count,
        "unexplained_sessions": [None] * count,
        **columns,
    }
    return pl.DataFrame(result, schema=dataset(load_settings("demo").indicators).schema)


def universe(indicators: pl.DataFrame) -> pl.DataFrame:
    return indicators.select("ticker", "date", sector_assumed=pl.lit(False))


def choose(indicators: pl.DataFrame, settings: CandidateSettings = SETTINGS) -> pl.DataFrame:
    return candidates(indicators, universe(indicators), [DAY], settings)


@pytest.mark.parametrize("method", ["zscore", "rank"])
def test_parts_have_unit_variance_so_weights_mean_what_they_say(method: str) -> None:
    chosen = choose(frame(), ALL.model_copy(update={"standardise": method}))
    assert chosen.height == 20
    for part in ("momentum_score", "ma_slope_score", "volatility_score"):
        assert chosen[part].std() == pytest.approx(1.0, rel=1e-12)
        assert chosen[part].mean() == pytest.approx(0.0, abs=1e-12)
    expected = 0.5 * chosen["momentum_score"] + 0.3 * chosen["ma_slope_score"] + 0.2 * chosen["volatility_score"]
    np.testing.assert_allclose(chosen["composite_score"], expected, rtol=0, atol=6e-10)  # rounded to 9 decimals


def test_scores_by_hand() -> None:
    rows = frame(3, momentum=[0.1, 0.2, 0.3], ma_slope=[0.03, 0.01, 0.02], garch_volatility=[0.2, 0.3, 0.4])
    chosen = choose(rows, ALL).sort("ticker")
    # Of three eligible names 0.5 gives one of each side: T00 0.35 + 0.3 - ..., in full:
    scores = {"T00": -0.5 + 0.3 + 0.2, "T01": -0.3, "T02": 0.5 - 0.2}
    best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
    result = {row["ticker"]: row for row in chosen.to_dicts()}
    assert (result[best]["candidate_type"], result[worst]["candidate_type"]) == ("long", "short")
    assert set(result) == {best, worst}
    for ticker, row in result.items():
        assert row["composite_score"] == pytest.approx(scores[ticker])
    assert result["T02"]["momentum_score"] == pytest.approx(1.0)
    assert result["T02"]["volatility_score"] == pytest.approx(-1.0)  # a high volatility is not preferred
    assert (result["T02"]["universe_count"], result["T02"]["eligible_count"], result["T02"]["selection_rank"]) == (
        3,
        3,
        1,
    )


def test_rank_takes_no_notice_of_distance() -> None:
    values = np.array([3.0, 1.0, np.nan, 1000.0, 2.0])
    result = standardise(values, "rank")
    np.testing.assert_allclose(result, np.array([0.5, -1.5, 0.0, 1.5, -0.5]) / np.std([1, 2, 3, 4], ddof=1))
    tied = standardise(np.array([1.0, 1.0, 2.0]), "rank")
    assert tied[0] == tied[1]


def test_a_part_that_does_not_vary_is_zero() -> None:
    np.testing.assert_array_equal(standardise(np.full(7, 0.1), "zscore"), np.zeros(7))
    np.testing.assert_array_equal(standardise(np.array([np.nan, 0.3]), "zscore"), np.zeros(2))
    chosen = choose(frame(ma_slope=[0.1] * 20), ALL)
    assert (chosen["ma_slope_score"] == 0.0).all()


def test_missing_volatility_of_a_young_name_is_neutral_and_eligible() -> None:
    volatility = [None if i < 4 else 0.1 + 0.01 * i for i in range(20)]
    status = ["too_young" if value is None else "fitted" for value in volatility]
    chosen = choose(frame(garch_volatility=volatility, garch_status=status), ALL)
    missing = chosen.filter(pl.col("ticker").is_in([f"T{i:02d}" for i in range(4)]))
    assert missing["volatility_score"].to_list() == [0.0] * 4
    assert chosen.filter(pl.col("volatility_score") != 0.0)["volatility_score"].std() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("unknown", "passing"),
    [("young", ["too_young"]), ("pass", ["too_young", "too_few_bars", "no_fit"]), ("refuse", [])],
)
def test_who_passes_the_band_without_a_volatility(unknown: str, passing: list[str]) -> None:
    status = ["too_young", "too_few_bars", "no_fit", *["fitted"] * 17]
    volatility = [None] * 3 + [0.1 + 0.01 * i for i in range(17)]
    rows = frame(garch_volatility=volatility, garch_status=status)
    chosen = choose(rows, ALL.model_copy(update={"unknown_volatility": unknown}))
    assert set(chosen["eligible_count"]) == {17 + len(passing)}
    eligible = rows.filter(pl.col("garch_volatility").is_not_null() | pl.col("garch_status").is_in(passing))
    expected = choose(eligible, ALL.model_copy(update={"unknown_volatility": "pass"}))
    assert chosen.drop("universe_count").equals(expected.drop("universe_count"))


@pytest.mark.parametrize(
    "bad",
    [
        {"history_sessions": 119},
        {"dollar_volume": 999_999.0},
        {"garch_volatility": 0.019},
        {"garch_volatility": 1.51},
        {"momentum": None},
        {"ma_slope": None},
        {"unexplained_sessions": 0},
        {"unexplained_sessions": 60},
    ],
    ids=str,
)
def test_filters(bad: dict[str, object]) -> None:
    (column, value), rows = next(iter(bad.items())), frame()
    changed = frame(**{column: [value, *rows[column].to_list()[1:]]})
    chosen = choose(changed, ALL)
    assert "T00" not in chosen["ticker"].to_list()
    assert set(chosen["eligible_count"]) == {19}
    assert set(chosen["universe_count"]) == {20}
    # The others are scored as if the refused name did not exist.
    without = choose(changed.filter(pl.col("ticker") != "T00"), ALL)
    assert without.drop("universe_count").equals(chosen.drop("universe_count"))


def test_an_unknown_dollar_volume_is_not_illiquid() -> None:
    rows = frame()
    unknown = choose(frame(dollar_volume=[None, *rows["dollar_volume"].to_list()[1:]]), ALL)
    assert unknown.equals(choose(rows, ALL))


def test_edges_of_the_filters_pass() -> None:
    edge = frame(history_sessions=[120] * 20, dollar_volume=[1e6] * 20, garch_volatility=[0.02] * 10 + [1.5] * 10)
    assert set(choose(edge, ALL)["eligible_count"]) == {20}


@pytest.mark.parametrize(
    ("eligible", "longs", "shorts"), [(1, 1, 0), (2, 1, 1), (3, 1, 1), (13, 1, 1), (20, 3, 3), (22, 3, 3), (60, 9, 9)]
)
def test_how_many_are_chosen(eligible: int, longs: int, shorts: int) -> None:
    chosen = choose(frame(eligible))
    assert chosen["candidate_type"].value_counts().sort("candidate_type").rows() == [("long", longs)] + (
        [("short", shorts)] if shorts else []
    )
    assert chosen["ticker"].n_unique() == chosen.height
    for side in chosen.partition_by("candidate_type"):
        ranked = side.sort("selection_rank")
        assert ranked["selection_rank"].to_list() == list(range(1, side.height + 1))
        scores = ranked["composite_score"].to_list()
        assert scores == sorted(scores, reverse=ranked["candidate_type"][0] == "long")
    if shorts:
        of = dict(chosen.group_by("candidate_type").agg("composite_score").rows())
        assert min(of["long"]) > max(of["short"])


def test_a_whole_number_of_names_is_not_lost_to_rounding() -> None:
    chosen = choose(frame(100), SETTINGS.model_copy(update={"long_fraction": 0.29}))
    assert chosen.filter(pl.col("candidate_type") == "long").height == 29


def test_ties_go_to_the_first_ticker_and_nobody_is_on_both_sides() -> None:
    same = frame(4, momentum=[0.1] * 4, ma_slope=[0.1] * 4, garch_volatility=[0.3] * 4)
    chosen = choose(same, ALL)
    assert chosen.select("ticker", "candidate_type", "selection_rank").rows() == [
        ("T00", "long", 1),
        ("T01", "long", 2),
        ("T02", "short", 1),
        ("T03", "short", 2),
    ]


def test_a_tie_but_for_rounding_errors_is_a_tie() -> None:
    """Ranks (1, 2, 4) and (2, 1, 3) with weights 0.5, 0.3 and 0.2 both weigh 1.9; their sums of floats differ by
    2e-16."""
    rest = [float(rank) for rank in range(3, 21)]
    rows = frame(
        20,
        momentum=[1.0, 2.0, *rest],
        ma_slope=[2.0, 1.0, *rest],
        garch_volatility=[0.8, 0.9, 1.1, 1.0, *np.arange(0.7, 0.05, -0.04)[:16]],
    )
    settings = ALL.model_copy(update={"standardise": "rank"})
    for names in (["T00", "T01"], ["T01", "T00"]):  # whoever has which ranks, the alphabet decides
        renamed = rows.with_columns(ticker=pl.col("ticker").replace(dict(zip(["T00", "T01"], names, strict=True))))
        result = {row["ticker"]: row for row in choose(renamed, settings).to_dicts()}
        parts = [
            [result[name][part] for part in ("momentum_score", "ma_slope_score", "volatility_score")]
            for name in ("T00", "T01")
        ]
        sums = [0.5 * momentum + 0.3 * slope + 0.2 * volatility for momentum, slope, volatility in parts]
        assert sums[0] != sums[1]
        assert result["T00"]["composite_score"] == result["T01"]["composite_score"] == pytest.approx(sums[0])
        assert [result[name]["selection_rank"] for name in ("T00", "T01")] == [1, 2]
        assert result["T00"]["candidate_type"] == "short"


def test_range_equals_months_whatever_the_order(identical) -> None:
    rows = pl.concat([frame(), frame(day=LATER, seed=2), frame(day=date(2024, 7, 30), seed=3)])
    both = candidates(rows, universe(rows), [DAY, LATER], SETTINGS)
    assert both.schema == DATASETS["candidates"].schema
    single = [candidates(rows.filter(pl.col("date") == day), universe(rows), [day], SETTINGS) for day in (DAY, LATER)]
    identical(pl.concat(single).sort("ticker", "as_of"), both)
    identical(candidates(rows.sample(fraction=1.0, shuffle=True, seed=4), universe(rows), [LATER, DAY], SETTINGS), both)
    identical(
        candidates(rows.filter(pl.col("date") <= DAY), universe(rows), [DAY, LATER], SETTINGS),
        both.filter(pl.col("as_of") == DAY),
    )


def test_nobody_eligible_gives_no_rows() -> None:
    none = choose(frame(dollar_volume=[0.0] * 20))
    assert none.is_empty()
    assert none.schema == DATASETS["candidates"].schema
    assert candidates(frame(), universe(frame()), [], SETTINGS).is_empty()
