"""Scores: percentiles by hand, what is missing re-weighted and listed, recommendations, and months alone."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.partitions import month_end, month_range, month_start
from quant_assets.portfolio.score_inputs import INPUTS, LIBRARY, forecasts, inputs, price_lookback
from quant_assets.portfolio.scores import percentile, scores
from quant_assets.portfolio.valuation.dcf import two_stage
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.settings.scoring import DcfSettings, FactorWeights, ScoreSettings
from quant_assets_tests.synthetic import Market, assert_identical, panel_days, partitions, simulate
from quant_assets_tests.synthetic_statements import month_ends_of, statements_of

AS_OF = date(2024, 6, 28)
STATEMENTS = FundamentalSettings()
#: What `score_inputs.inputs` gives of three names; figures of the whole company.
FIGURES = {
    "close_unadjusted": 50.0,
    "revenue_growth": 0.05,
    "free_cash_flow": 100.0,
    "net_debt": 200.0,
    "shares_outstanding": 10.0,
    "earnings_per_share": 4.0,
    "book_per_share": 10.0,
}


def known(count: int = 3, **more: object) -> pl.DataFrame:
    """Names whose inputs, whichever way is good, are best for the last one; `more` are columns."""
    place = pl.int_range(count, eager=True).cast(pl.Float64)
    columns = {
        each.name: 0.01 * (place if each.best == "high" else count - place) for each in INPUTS if each.name != "upside"
    }
    columns |= {"high_52w_distance": -0.01 * (count - place), "ml_signal": 0.01 * place}
    columns |= {"ml_confidence": 0.2 + 0.0 * place, "ml_forecasts": (2 + 0 * place).cast(pl.Int32)}
    frame = pl.DataFrame({"ticker": pl.Series([f"T{n}" for n in range(count)], dtype=pl.String), **columns})
    given = {name: pl.lit(value) for name, value in FIGURES.items()} | {
        name: pl.lit(None, pl.Float64)
        for name in DATASETS["scores"].schema
        if name in ("price_to_earnings", "price_to_book", "ev_to_ebitda", "market_value", "operating_profitability")
        or name in ("asset_growth", "statement_age_days")
    }
    extra = {name: pl.Series(value) if isinstance(value, list) else value for name, value in more.items()}
    return frame.with_columns(as_of=pl.lit(AS_OF), **given).with_columns(**extra)


def scored(settings: ScoreSettings | None = None, count: int = 3, **more: object) -> list[dict]:
    found = scores(known(count, **more), settings or ScoreSettings(), "it")
    assert found.schema == DATASETS["scores"].schema
    return found.to_dicts()


def test_percentiles_by_hand() -> None:
    frame = pl.DataFrame({"as_of": [AS_OF] * 5, "x": [3.0, 1.0, None, 3.0, 9.0]})
    assert frame.select(percentile("x")).to_series().to_list() == [50.0, 12.5, None, 50.0, 87.5]
    assert frame.select(percentile("x", best="low")).to_series().to_list() == [50.0, 87.5, None, 50.0, 12.5]
    alone = pl.DataFrame({"as_of": [AS_OF], "x": [7.0]})
    assert alone.select(percentile("x")).item() == 50.0
    two = pl.DataFrame({"as_of": [AS_OF, AS_OF, date(2024, 7, 31)], "x": [1.0, 2.0, 0.5]})
    assert two.select(percentile("x")).to_series().to_list() == [25.0, 75.0, 50.0], "among those of the same session"


def test_the_best_name_is_bought_and_the_worst_sold() -> None:
    worst, middle, best = scored()
    sixth = 100 / 6
    for name in ("quality", "momentum", "risk", "technical", "ml"):
        assert (worst[name], middle[name], best[name]) == pytest.approx((sixth, 50.0, 5 * sixth)), name
    # All three have one upside: its percentile is 50, the other three inputs of valuation have 5/6.
    assert best["valuation"] == pytest.approx((3 * 5 * sixth + 50.0) / 4)
    expected = 0.30 * best["valuation"] + 0.25 * best["quality"] + 0.25 * best["momentum"] + 0.20 * best["risk"]
    assert best["composite"] == pytest.approx(expected)
    assert [row["recommendation"] for row in (worst, middle, best)] == ["sell", "hold", "buy"]
    assert {row["missing"] for row in (worst, middle, best)} == {""}
    assert best["known_share"] == 1.0


def test_fair_value_is_the_cash_flow_model_of_the_sectors_rate() -> None:
    dcf = DcfSettings(flow_to="firm", sector_wacc={"it": 0.10})
    row = scored(ScoreSettings(dcf=dcf))[0]
    expected = two_stage(100.0, 0.05, 200.0, 10.0, wacc=0.10, terminal_growth=0.025, years=5).per_share
    assert row["fair_value"] == expected
    assert row["upside"] == pytest.approx(expected / 50.0 - 1.0)
    assert row["no_fair_value"] is None
    assert row["graham_value"] == pytest.approx(30.0)
    wild = scored(ScoreSettings(dcf=dcf), revenue_growth=pl.lit(3.0))[0]
    assert (
        wild["fair_value"] == two_stage(100.0, 0.15, 200.0, 10.0, wacc=0.10, terminal_growth=0.025, years=5).per_share
    )


def test_a_flow_after_interest_is_the_shareholders_and_debt_counts_once() -> None:
    dcf = DcfSettings(flow_to="equity", cost_of_equity=0.12, sector_wacc={"it": 0.05})
    rows = scored(ScoreSettings(dcf=dcf), net_debt=[600.0, 0.0, None])
    expected = two_stage(100.0, 0.05, 0.0, 10.0, wacc=0.12, terminal_growth=0.025, years=5).per_share
    assert [row["fair_value"] for row in rows] == [expected] * 3, "what is paid for debt is gone from the flow"
    assert [row["no_fair_value"] for row in rows] == [None] * 3
    firm = scored(ScoreSettings(dcf=DcfSettings(flow_to="firm")), net_debt=[600.0, 0.0, None])
    assert firm[1]["fair_value"] - firm[0]["fair_value"] == pytest.approx(60.0)
    assert firm[2]["no_fair_value"] == "net debt is not known"


def test_a_value_is_the_same_before_and_after_a_split() -> None:
    before = scored()[0]
    after = scored(
        close_unadjusted=pl.lit(25.0),
        shares_outstanding=pl.lit(20.0),
        earnings_per_share=pl.lit(2.0),
        book_per_share=pl.lit(5.0),
    )[0]
    assert after["fair_value"] == before["fair_value"] / 2
    assert after["graham_value"] == before["graham_value"] / 2
    assert (after["upside"], after["composite"]) == (before["upside"], before["composite"])


def test_what_is_missing_is_listed_and_left_out_and_is_neither_zero_nor_fifty() -> None:
    best = scored(earnings_yield=[0.0, 0.1, None], free_cash_flow=[100.0, 100.0, -5.0])[2]
    assert best["missing"] == "earnings_yield, upside"
    assert best["no_fair_value"] == "free cash flow is not positive"
    assert best["valuation"] == pytest.approx(500 / 6), "the mean of the two that are known"
    nothing = [0.1, 0.1, None]
    lost = scored(**dict.fromkeys((each.name for each in INPUTS if each.factor == "quality"), nothing))[2]
    assert lost["quality"] is None
    rest = 0.30 * lost["valuation"] + 0.25 * lost["momentum"] + 0.20 * lost["risk"]
    assert lost["composite"] == pytest.approx(rest / 0.75)
    assert lost["known_share"] == pytest.approx(0.75)


def test_without_forecasts_momentum_is_its_technical_part_and_says_so() -> None:
    none = {"ml_signal": pl.lit(None, pl.Float64), "ml_confidence": pl.lit(None, pl.Float64)}
    row = scored(**none, ml_forecasts=pl.lit(None, pl.Int32))[2]
    assert (row["ml"], row["ml_forecasts"], row["missing"]) == (None, 0, "ml")
    assert row["momentum"] == pytest.approx(row["technical"])


def test_forecasts_weigh_sixty_of_a_hundred() -> None:
    rows = scored(ml_signal=[0.3, 0.2, 0.1])  # the other way round
    assert [row["ml"] for row in rows] == pytest.approx([500 / 6, 50.0, 100 / 6])
    assert rows[0]["momentum"] == pytest.approx(0.4 * 100 / 6 + 0.6 * 500 / 6)
    technical = scored(ScoreSettings(ml_weight=0.0), ml_signal=[0.3, 0.2, 0.1])
    assert technical[0]["momentum"] == pytest.approx(technical[0]["technical"])


def test_too_little_known_is_not_rated() -> None:
    lost = {each.name: [0.0, 0.1, None] for each in INPUTS if each.factor in ("technical", "risk")}
    lost |= {"high_52w_distance": [-0.1, 0.0, None], "ml_signal": [0.1, 0.2, None]}
    row = scored(ScoreSettings(min_known=0.6), **lost)[2]
    assert row["known_share"] == pytest.approx(0.55)
    assert row["composite"] is not None
    assert row["recommendation"] is None
    assert scored(ScoreSettings(min_known=0.5), **lost)[2]["recommendation"] == "buy"
    only = ScoreSettings(weights=FactorWeights(valuation=0, quality=0, momentum=0, risk=1), min_known=0.0)
    nothing = scored(only, **lost)[2]
    assert (nothing["composite"], nothing["recommendation"]) == (None, None)


def predictions(*rows: tuple[str, int, str, float, float, float], day: date = AS_OF) -> pl.DataFrame:
    names = ("ticker", "horizon", "model", "prediction", "prediction_std", "confidence")
    schema = {**dict.fromkeys(("ticker", "model"), pl.String), "horizon": pl.Int32}
    frame = pl.DataFrame(rows, schema={name: schema.get(name, pl.Float64) for name in names}, orient="row")
    return frame.with_columns(date=pl.lit(day))


def test_the_signal_by_hand() -> None:
    given = predictions(
        ("A", 1, "linear", 0.01, 0.02, 0.1),
        ("A", 60, "linear", 0.10, 0.40, 0.5),
        ("A", 60, "ensemble", 9.0, 0.1, 1.0),
        ("B", 1, "linear", -0.01, 0.02, 0.1),
    )
    later = predictions(("A", 1, "linear", 5.0, 0.01, 1.0), day=date(2024, 7, 1))
    rows = forecasts(pl.concat([given, later]), [AS_OF]).to_dicts()
    assert [row["ticker"] for row in rows] == ["A", "B"]
    assert rows[0]["ml_signal"] == pytest.approx((0.5 + 0.25) / 2 * 0.3), "in deviations, times the mean confidence"
    assert (rows[0]["ml_confidence"], rows[0]["ml_forecasts"]) == (pytest.approx(0.3), 2)
    assert rows[1]["ml_signal"] == pytest.approx(-0.05)


@pytest.fixture(scope="module")
def market() -> Market:
    return simulate()


@pytest.fixture(scope="module")
def statements(market: Market) -> pl.DataFrame:
    return statements_of(market)


def computed(market: Market, statements: pl.DataFrame, given: pl.DataFrame, first: str, last: str) -> pl.DataFrame:
    """As the asset loads what it reads."""
    before = -(-price_lookback(STATEMENTS) // 19) + 1
    days = panel_days(market.days, first, last, before)
    decisions = [day for day in month_ends_of(days) if month_start(first) <= day <= month_end(last)]
    months = [f"{day:%Y-%m}" for day in month_ends_of(days)]
    rows = inputs(
        partitions(market.prices, "panel_from", months[0], last),
        partitions(statements, "panel_from", months[0], last),
        partitions(market.universe, "date", months[0], last),
        partitions(given, "date", first, last),
        STATEMENTS,
        days,
        decisions,
        month_start(first),
        month_end(last),
    )
    return scores(rows, ScoreSettings(), "it")


@pytest.fixture(scope="module")
def made_up(market: Market) -> pl.DataFrame:
    """A forecast of three horizons for each member and session of 2021."""
    rng = np.random.default_rng(8)
    rows = market.universe.filter(pl.col("date") >= date(2021, 1, 1)).select("ticker", "date")
    parts = [
        rows.with_columns(
            horizon=pl.lit(horizon, pl.Int32),
            model=pl.lit("linear"),
            prediction=pl.Series(0.01 * rng.normal(size=len(rows))),
            prediction_std=pl.lit(0.03),
            confidence=pl.Series(rng.uniform(size=len(rows))),
        )
        for horizon in (1, 5, 20)
    ]
    return pl.concat(parts)


def test_a_range_equals_its_months(market: Market, statements: pl.DataFrame, made_up: pl.DataFrame) -> None:
    whole = computed(market, statements, made_up, "2021-02", "2021-06")
    months = [computed(market, statements, made_up, each, each) for each in month_range("2021-02", "2021-06")]
    assert len(whole) > 30
    assert whole["ml"].is_not_null().any()
    assert whole["drawdown_252"].is_not_null().any()
    assert_identical(whole, pl.concat(months).sort("ticker", "as_of"))


def test_every_member_has_a_row_also_without_a_bar(
    market: Market, statements: pl.DataFrame, made_up: pl.DataFrame
) -> None:
    found = computed(market, statements, made_up, "2021-06", "2021-06")
    members = market.universe.filter(pl.col("date") == found["as_of"][0])["ticker"].sort()
    assert found["ticker"].to_list() == members.to_list()


def test_the_largest_drawdown_of_a_year(market: Market, statements: pl.DataFrame, made_up: pl.DataFrame) -> None:
    found = computed(market, statements, made_up, "2021-06", "2021-06")
    close = market.prices.filter(pl.col("ticker") == "FLAT")
    assert found.filter(pl.col("ticker") == "FLAT")["drawdown_252"].item() == 0.0
    close = market.prices.filter(pl.col("ticker") == "HALT").sort("date")["close"].to_numpy()
    worst = max(1 - close[at] / close[at - 251 : at + 1].max() for at in range(len(close) - 252, len(close)))
    assert found.filter(pl.col("ticker") == "HALT")["drawdown_252"].item() == pytest.approx(worst)


def test_the_library_of_scores_needs_no_setting() -> None:
    assert set(LIBRARY.names) == {each.name for each in INPUTS if each.factor in ("technical", "risk")}
    assert {each.name for each in INPUTS} <= set(DATASETS["scores"].schema)
