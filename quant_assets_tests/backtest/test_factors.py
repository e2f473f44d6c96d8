"""Factor statistics against alphalens (reference/make_factors.py), and what they may know and depend on."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import spearmanr

from quant_assets.backtest.factors import FIGURES, CrossSections, complete_after, factor_statistics, session_figures
from quant_assets.market.calendar import sessions
from quant_assets.settings.domain import CandidateSettings, LabelSettings

EXPECTED = Path(__file__).parents[1] / "reference" / "factors.parquet"
HORIZONS, NAMES = (1, 5), 14


@pytest.fixture(scope="module")
def alphalens() -> pl.DataFrame:
    return pl.read_parquet(EXPECTED).with_columns(pl.col("date").cast(pl.Date))


@pytest.fixture(scope="module")
def found(alphalens) -> pl.DataFrame:
    """Our figures on alphalens' frame: `date, horizon, figure, value`."""
    rows = alphalens.filter(pl.col("figure") == "factor").sample(fraction=1.0, shuffle=True, seed=1)
    days = alphalens["date"].unique().sort().to_numpy().astype("datetime64[D]")
    labels = alphalens.filter(pl.col("figure") == "forward_return").select(
        "ticker", "date", "horizon", pl.col("value").alias("forward_return"), pl.col("date").alias("known_at")
    )
    sections = CrossSections.of(rows, labels, HORIZONS, 1, days)
    figures = session_figures(
        rows["value"].to_numpy()[sections.order], sections, np.ones((2, len(days)), dtype=bool), 3
    )
    parts = []
    for number, horizon in enumerate(HORIZONS):
        for figure, values in zip(FIGURES, figures[number], strict=True):
            parts.append(
                pl.DataFrame({"date": days, "value": values}).with_columns(
                    horizon=pl.lit(horizon), figure=pl.lit(figure)
                )
            )
    return pl.concat(parts).with_columns(pl.col("date").cast(pl.Date), pl.col("horizon").cast(pl.Int32))


@pytest.mark.parametrize("horizon", HORIZONS)
@pytest.mark.parametrize("figure", FIGURES[1:])
def test_equals_alphalens(alphalens, found, figure: str, horizon: int) -> None:
    chosen = (pl.col("figure") == figure) & (pl.col("horizon") == horizon)
    theirs, ours = alphalens.filter(chosen).sort("date"), found.filter(chosen).sort("date")
    if figure in ("top_turnover", "bottom_turnover", "rank_autocorrelation"):
        # Theirs stands at the later of the two sessions, ours at the earlier one.
        days = ours["date"].to_list()
        theirs = theirs.with_columns(date=pl.Series([days[days.index(day) - horizon] for day in theirs["date"]]))
    both = theirs.join(ours, on="date", suffix="_ours")
    assert len(both) == len(theirs) >= 44 - horizon
    np.testing.assert_allclose(both["value_ours"], both["value"], rtol=0, atol=1e-12)


def test_a_session_with_equal_edges_has_an_ic_and_no_quantiles(alphalens, found) -> None:
    last = found.filter(pl.col("date") == pl.col("date").max(), pl.col("horizon") == 1)
    values = dict(last.select("figure", "value").iter_rows())
    rows = alphalens.filter(pl.col("date") == pl.col("date").max())
    pairs = rows.filter(pl.col("figure") == "factor").join(
        rows.filter(pl.col("figure") == "forward_return", pl.col("horizon") == 1), on="ticker", suffix="_later"
    )
    assert values["names"] == len(pairs) > 10
    assert values["ic"] == pytest.approx(spearmanr(pairs["value"], pairs["value_later"])[0], abs=1e-12)
    assert all(np.isnan(values[f"quantile_{each}"]) for each in range(1, 6))
    before = found.filter(pl.col("date") == found["date"].unique().sort()[-2], pl.col("horizon") == 1)
    turnover = dict(before.select("figure", "value").iter_rows())
    assert np.isnan(turnover["top_turnover"])
    assert np.isnan(turnover["bottom_turnover"])
    assert not np.isnan(turnover["rank_autocorrelation"])


def test_many_names_are_judged_as_few_are() -> None:
    """Sessions with more than 64 names are sorted otherwise: names without a value that make them so change nothing."""
    days, figures = sessions(date(2024, 1, 2), date(2024, 1, 31)), {}
    for names in (60, 80):
        rows = pl.DataFrame(
            {"ticker": np.repeat([f"T{each:02d}" for each in range(80)], len(days)), "date": np.tile(days, 80)}
        )
        rows = rows.with_columns(pl.col("date").cast(pl.Date))
        labels = rows.with_columns(
            horizon=pl.lit(1, pl.Int32),
            forward_return=np.random.default_rng(5).standard_normal(len(rows)),
            known_at="date",
        )
        rows = rows.filter(pl.col("ticker") < f"T{names}")
        values = np.round(np.random.default_rng(6).standard_normal((80, len(days))), 1)[:names].ravel()  # with ties
        values[(rows["ticker"] >= "T60").to_numpy()] = np.nan
        sections = CrossSections.of(rows, labels, (1,), 1, days)
        figures[names] = session_figures(values[sections.order], sections, np.ones((1, len(days)), dtype=bool), 3)
        last = (
            rows.with_columns(value=pl.Series(values))
            .join(labels, on=["ticker", "date"])
            .filter(pl.col("date") == days[-2].item())
        )
        last = last.filter(pl.col("value").is_not_nan())
        assert figures[names][0, 1, -2] == pytest.approx(spearmanr(last["value"], last["forward_return"])[0], abs=1e-12)
    np.testing.assert_array_equal(figures[60], figures[80])
    assert np.isfinite(figures[60][0, :, :-1]).all()


def market(first: date, last: date, seed: int = 3) -> dict[str, pl.DataFrame]:
    """A factor that its labels follow, one that does not, indicators, and labels with a few that are known late."""
    rng = np.random.default_rng(seed)
    days = sessions(first, last)
    every = sessions(first, date(last.year + 1, 12, 31))
    names = [f"T{number:02d}" for number in range(NAMES)]
    rows = pl.DataFrame({"ticker": np.repeat(names, len(days)), "date": np.tile(days, NAMES)}).with_columns(
        pl.col("date").cast(pl.Date)
    )
    good, noise = rng.normal(size=(2, len(rows)))
    features = rows.with_columns(
        good=pl.Series(good), noise=pl.Series(np.where(rng.random(len(rows)) < 0.1, np.nan, noise))
    ).with_columns(pl.col("noise").fill_nan(None))
    position = np.searchsorted(every, rows["date"].to_numpy().astype("datetime64[D]"))
    labels = []
    for horizon in HORIZONS:
        late = np.where(rng.random(len(rows)) < 0.05, rng.integers(0, 11, len(rows)), 0)
        labels.append(
            rows.with_columns(
                horizon=pl.lit(horizon, pl.Int32),
                forward_return=pl.Series(0.01 * good + 0.02 * rng.normal(size=len(rows))),
                known_at=pl.Series(every[position + 1 + horizon + late]).cast(pl.Date),
            )
        )
    indicators = rows.with_columns(
        history_sessions=pl.lit(300, pl.Int32),
        dollar_volume=pl.lit(1e9),
        momentum=pl.Series(good),
        ma_slope=pl.Series(noise),
        garch_volatility=pl.lit(0.2),
        garch_status=pl.lit("fitted"),
        unexplained_sessions=pl.lit(None, pl.Int32),
    )
    predictions = rows.with_columns(model=pl.lit("lightgbm"), horizon=pl.lit(5, pl.Int32), prediction=pl.Series(-good))
    return {"features": features, "indicators": indicators, "predictions": predictions, "labels": pl.concat(labels)}


def statistics(
    frames: dict[str, pl.DataFrame], start: date, first: date, last: date, min_names: int = 10
) -> pl.DataFrame:
    days = sessions(start, last)
    ends = pl.Series(days).cast(pl.Date)
    as_ofs = (
        ends.filter(ends >= first)
        .to_frame("d")
        .group_by(pl.col("d").dt.truncate("1mo"))
        .agg(pl.col("d").max().alias("e"))
    )
    frames = {name: frame.filter(pl.col("date").is_between(start, last)) for name, frame in frames.items()}
    return factor_statistics(
        frames["features"],
        ["good", "noise"],
        frames["indicators"],
        frames["predictions"],
        frames["labels"],
        days,
        first,
        as_ofs["e"].sort().to_list(),
        LabelSettings(horizons=HORIZONS),
        CandidateSettings(),
        min_names,
    )


FIRST, START, LAST = date(2023, 3, 1), date(2023, 1, 3), date(2023, 6, 30)


@pytest.fixture(scope="module")
def frames() -> dict[str, pl.DataFrame]:
    return market(START, LAST)


def test_every_kind_of_factor_is_judged_and_the_good_one_found(frames) -> None:
    rows = statistics(frames, START, FIRST, LAST)
    judged = {(kind, factor, horizon) for kind, factor, horizon in rows.select("kind", "factor", "horizon").iter_rows()}
    assert {
        ("feature", "good", 1),
        ("feature", "noise", 5),
        ("candidate_score", "composite_score", 1),
        ("model", "lightgbm", 5),
    } <= judged
    assert ("model", "lightgbm", 1) not in judged, "a forecast is judged at its own horizon"
    assert rows["as_of"].n_unique() == 4
    means = {key[0]: part["ic"].mean() for key, part in rows.filter(pl.col("horizon") == 5).group_by("factor")}
    assert means["good"] > 0.35
    assert means["lightgbm"] == pytest.approx(-means["good"])
    assert abs(means["noise"]) < 0.1
    good = rows.filter(pl.col("factor") == "good")
    assert (good["quantile_5"] > good["quantile_1"]).all()


def test_a_range_equals_its_months_from_their_own_lookback(frames) -> None:
    ranged = statistics(frames, START, FIRST, LAST)
    for month in (3, 4, 5, 6):
        first = date(2023, month, 1)
        last = ranged.filter(pl.col("as_of").dt.month() == month)["as_of"][0]
        alone = statistics(frames, date(2023, month - 2, 1), first, last)
        assert_frame_equal(alone, ranged.filter(pl.col("as_of") == last), check_exact=True)


def test_a_session_counts_in_the_month_in_which_its_last_label_may_become_known(frames) -> None:
    rows = statistics(frames, START, FIRST, LAST).filter(pl.col("factor") == "good")
    days = sessions(START, LAST)
    for horizon in HORIZONS:
        complete = days[complete_after(horizon, 1) :]
        found = rows.filter(pl.col("horizon") == horizon).sort("as_of")["ic_sessions"].to_list()
        assert found == [
            int((complete.astype("datetime64[M]") == np.datetime64(f"2023-0{month}")).sum()) for month in (3, 4, 5, 6)
        ]


def test_labels_known_late_count_and_those_known_after_that_do_not(frames) -> None:
    rows = statistics(frames, START, FIRST, LAST).filter(pl.col("factor") == "good")
    assert rows["names"].unique().to_list() == [NAMES], "those of a delisting that was known late are among them"
    every = sessions(START, LAST)
    day = every[50]
    too_late = every[50 + complete_after(1, 1) + 1].item()
    one = (pl.col("ticker") == "T03") & (pl.col("date") == day.item()) & (pl.col("horizon") == 1)
    changed = frames["labels"].with_columns(known_at=pl.when(one).then(too_late).otherwise("known_at"))
    fewer = statistics(frames | {"labels": changed}, START, FIRST, LAST).filter(pl.col("factor") == "good")
    assert (NAMES - fewer["names"]).to_list().count(0) == len(fewer) - 1


def test_nothing_known_later_matters(frames) -> None:
    expected = statistics(frames, START, FIRST, date(2023, 4, 28))
    labels = frames["labels"]
    later = pl.col("known_at") > date(2023, 4, 28)
    spoilt = frames | {
        "labels": labels.with_columns(forward_return=pl.when(later).then(99.0).otherwise("forward_return"))
    }
    assert_frame_equal(statistics(spoilt, START, FIRST, date(2023, 4, 28)), expected, check_exact=True)
    without = frames | {"labels": labels.filter(~later)}
    assert_frame_equal(statistics(without, START, FIRST, date(2023, 4, 28)), expected, check_exact=True)


def test_order_of_rows_and_the_names_of_tickers_do_not_matter(frames) -> None:
    expected = statistics(frames, START, FIRST, LAST)
    shuffled = {name: frame.sample(fraction=1.0, shuffle=True, seed=5) for name, frame in frames.items()}
    assert_frame_equal(statistics(shuffled, START, FIRST, LAST), expected, check_exact=True)
    renamed = {name: frame.with_columns("X" + pl.col("ticker").str.reverse()) for name, frame in frames.items()}
    assert_frame_equal(statistics(renamed, START, FIRST, LAST), expected, abs_tol=1e-12)


def test_too_few_names_give_no_row(frames) -> None:
    rows = statistics(frames, START, FIRST, LAST, min_names=NAMES)
    good, noise = (
        rows.filter(pl.col("factor") == name, pl.col("horizon") == 1)["ic_sessions"].sum() for name in ("good", "noise")
    )
    assert 0 < noise < good, "a session on which a name has no value has too few"
    assert statistics(frames, START, FIRST, LAST, min_names=NAMES + 1).is_empty()


def test_a_label_over_an_unexplained_step_is_none(frames) -> None:
    marked = (pl.col("ticker") == "T03") & (pl.col("date") < date(2023, 3, 15))
    spoilt = frames["labels"].with_columns(
        forward_return=pl.when(marked).then(70.0).otherwise("forward_return"), unexplained=marked
    )
    expected = statistics(frames | {"labels": frames["labels"].filter(~marked)}, START, FIRST, LAST)
    assert_frame_equal(statistics(frames | {"labels": spoilt}, START, FIRST, LAST), expected, check_exact=True)
