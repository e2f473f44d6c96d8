"""The ledger: what is said of a session stands, whoever asks again; the day's page follows from it alone."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.assets.live import DAILY_REPORT, DECISIONS
from quant_assets.portfolio.weights import sector_weights
from quant_assets.profile import Profile
from quant_assets.signals.candidates import candidates
from quant_assets_tests.synthetic_live import DAYS, GO_LIVE, LAST, SECTORS, live_settings, materialised, months_written

pytestmark = pytest.mark.slow


def profile_at(folder: Path, as_of: date = LAST) -> Profile:
    return Profile(live_settings(folder, as_of))


def files(profile: Profile) -> dict[str, bytes]:
    root = Path(profile.store.url) / DECISIONS
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.parquet"))}


def entry(profile: Profile, day: date, sector: str = "it") -> pl.DataFrame:
    return profile.store.read(profile.every_dataset[DECISIONS], [f"{day}|{sector}"]).collect()


def test_what_is_said_is_the_sessions_own_decision(tmp_path: Path) -> None:
    profile, day = profile_at(tmp_path), DAYS[1]
    months_written(profile, LAST)
    assert materialised(profile, DECISIONS, day, day, ["it"]) == (True, "")
    rows = entry(profile, day)
    stored = {
        name: profile.store.read(profile.datasets[name], ["2024-06|it"]).collect().drop("sector", "month")
        for name in ("indicators", "universe", "predictions")
    }
    chosen = candidates(stored["indicators"], stored["universe"], [day], profile.settings.candidates)
    held = sector_weights(chosen, stored["predictions"], stored["indicators"], [day], profile.settings.weights)
    said = {item: rows.filter(pl.col("item") == item) for item in ("forecast", "candidate", "weight")}
    assert dict(said["weight"].select("ticker", "value").iter_rows()) == dict(
        held.select("ticker", "weight").iter_rows()
    )
    sides = ["ticker", "side", "rank", "value"]
    assert (
        said["candidate"].select(sides).rows()
        == chosen.sort("ticker").select("ticker", "candidate_type", "selection_rank", "composite_score").rows()
    )
    forecasts = stored["predictions"].filter(pl.col("date") == day)
    assert len(said["forecast"]) == len(forecasts) > 0
    assert said["forecast"].null_count().select("lower", "upper", "prob_up", "model_version").row(0) == (0, 0, 0, 0)
    assert set(said["weight"]["model_version"]) == {"it-v1"}
    assert set(rows["late"]) == {4}  # 28 June, 1, 2 and 3 July had closed


def test_weights_that_follow_from_the_sessions_before_are_those_stored_of_the_session(tmp_path: Path) -> None:
    settings = live_settings(tmp_path, LAST)
    weighing = settings.weights.model_copy(update={"method": "equal_risk_contribution"})
    profile = Profile(settings.model_copy(update={"weights": weighing}))
    months_written(profile, LAST)
    dataset = profile.datasets["weights"]
    row = {"ticker": "A", "as_of": DAYS[1], "weight": -0.25, "rank": 1, "score": 0.5, "score_source": "composite_score"}
    stored = pl.DataFrame([{"sector": "it", **row, "volatility": 0.2}], schema=dataset.empty().schema)
    profile.store.write(dataset, stored, ["2024-06|it"])
    assert materialised(profile, DECISIONS, DAYS[0], DAYS[1], ["it"]) == (True, "")
    assert "weight" not in set(entry(profile, DAYS[0])["item"]), "the month's decision is another session's"
    said = entry(profile, DAYS[1]).filter(pl.col("item") == "weight")
    assert said.select("ticker", "value", "side").rows() == [("A", -0.25, "short")]


def test_a_range_equals_its_days_and_equal_rows_are_no_news(tmp_path: Path) -> None:
    bulk, single = (profile_at(tmp_path / name) for name in ("bulk", "single"))
    for each in (bulk, single):
        months_written(each, LAST)
    assert materialised(bulk, DECISIONS, DAYS[0], DAYS[2], SECTORS[:1])[0]
    for day in reversed(DAYS[:3]):
        assert materialised(single, DECISIONS, day, day, SECTORS[:1])[0]
    before = files(bulk)
    assert before == files(single)
    assert len(before) == 3
    assert materialised(bulk, DECISIONS, DAYS[0], DAYS[2], SECTORS[:1])[0]
    assert files(bulk) == before


def test_what_was_said_is_never_said_otherwise_and_a_range_is_refused_whole(tmp_path: Path) -> None:
    profile = profile_at(tmp_path)
    months_written(profile, LAST)
    assert materialised(profile, DECISIONS, DAYS[1], DAYS[1], ["it"])[0]
    before = files(profile)

    def restated(name: str, sector: str, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(prediction=pl.col("prediction") + 0.01) if name == "predictions" else rows

    again = profile_at(tmp_path)
    months_written(again, LAST, change=restated)
    succeeded, said = materialised(again, DECISIONS, DAYS[0], DAYS[2], ["it"])
    assert not succeeded
    assert said.splitlines() == [
        "quant_assets.errors.LedgerError: decisions of 2024-06-27|it differ from the rows written before, which must "
        "not change: none of the 3 partitions was written; quant live --compare shows the differences and their causes"
    ]
    assert files(again) == before
    assert materialised(again, DECISIONS, DAYS[2], DAYS[2], ["it"])[0], "a day of which nothing was said is free"


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        (date(2024, 6, 28), date(2024, 7, 1), "Saturday 2024-06-29, Sunday 2024-06-30 are no session of XNYS"),
        (date(2024, 7, 4), date(2024, 7, 4), "Thursday 2024-07-04 is no session of XNYS"),
        (date(2024, 7, 5), date(2024, 7, 5), "Friday 2024-07-05 is not over yet (the last session that has closed is"),
    ],
)
def test_a_day_that_is_no_closed_session_is_refused(first: date, last: date, told: str, tmp_path: Path) -> None:
    profile = profile_at(tmp_path)
    months_written(profile, LAST)
    succeeded, said = materialised(profile, DECISIONS, first, last, ["it"])
    assert not succeeded
    assert told in said
    assert len(said.splitlines()) == 1
    assert files(profile) == {}


def test_a_month_that_does_not_know_the_day_yet_is_refused(tmp_path: Path) -> None:
    profile = profile_at(tmp_path)
    months_written(profile, DAYS[1])
    succeeded, said = materialised(profile, DECISIONS, DAYS[2], DAYS[2], ["it"])
    assert not succeeded
    assert "written before all was known" in said
    assert "2024-06-28 is needed" in said


def test_the_report_of_a_day_says_what_changed_and_what_is_missing(tmp_path: Path) -> None:
    profile, day = profile_at(tmp_path), DAYS[3]
    months_written(profile, LAST)
    for sector in SECTORS:
        assert materialised(profile, DECISIONS, DAYS[2], DAYS[2], [sector])[0]
    assert materialised(profile, DECISIONS, day, day, ["it"])[0]
    assert materialised(profile, DAILY_REPORT, day, day) == (True, "")
    rows = profile.store.read(profile.every_dataset[DAILY_REPORT], [str(day)]).collect()
    page = profile.store.read_artifact(rows["report_file"][0]).decode()
    assert "no entry of Health Care" in page
    assert "recorded late: Information Technology" in page
    assert "Since 2024-06-28: turnover" in page
    figures = {
        metric: value
        for sector, metric, value in rows.select("sector", "metric", "value").iter_rows()
        if sector == "it"
    }
    now, before = (
        dict(entry(profile, each).filter(pl.col("item") == "weight").select("ticker", "value").iter_rows())
        for each in (day, DAYS[2])
    )
    turnover = sum(abs(now.get(name, 0.0) - before.get(name, 0.0)) for name in {*now, *before})
    assert figures["turnover"] == pytest.approx(turnover)
    assert figures["left"] == len(before.keys() - now.keys())
    assert figures["late"] == 2
    assert materialised(profile, DAILY_REPORT, day, day)[0]
    assert profile.store.read_artifact(rows["report_file"][0]).decode() == page


def test_without_a_go_live_day_there_is_no_ledger(tmp_path: Path) -> None:
    profile = Profile(live_settings(tmp_path, live={"go_live": None}))
    assert not {DECISIONS, DAILY_REPORT} & set(profile.every_dataset)
    assert GO_LIVE in DAYS
