"""Cuts lie where something happens: around a training, in every month of the year, and next to each ticker's events."""

from datetime import date

import polars as pl
import pytest

from quant_assets.audit.altered_runs import AlteredRuns, windows
from quant_assets.audit.cuts import EVENTS, Cut, by_event, by_session, events, market_cuts
from quant_assets.audit.parts import Part
from quant_assets.audit.perturbation import Perturbed
from quant_assets.audit.runs import Recomputed
from quant_assets.graph import build_defs
from quant_assets.market.calendar import sessions
from quant_assets.market.placement import panel_tickers
from quant_assets.planning.plan import Planner
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings

FIRST, END = date(2023, 10, 2), date(2024, 5, 31)
QUARTERLY = {"cadence_months": 3, "window_months": 36}


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile(load_settings("demo", as_of=date(2024, 12, 13), partitions={"start": "2018-01"}, training=QUARTERLY))


@pytest.fixture(scope="module")
def planner(profile: Profile) -> Planner:
    return Planner(build_defs(profile), profile)


def tickers(profile: Profile, sector: str) -> list[str]:
    return panel_tickers(profile.source.sector_snapshots(END), sector, END)


def test_the_newest_training_that_has_a_month_after_it_is_surrounded(profile: Profile, planner: Planner) -> None:
    found = market_cuts(profile, planner, "2023-01", "2024-12", every_month=False)
    # December is not over, and in November nothing is trained.
    assert [(cut.day, cut.why) for cut in found] == [
        (date(2024, 9, 17), "middle of a training month"),
        (date(2024, 9, 30), "training session"),
        (date(2024, 10, 1), "execution session"),
    ]


def test_execution_is_cut_as_late_as_it_is_declared() -> None:
    late = Profile(load_settings("demo", as_of=date(2024, 12, 13), labels={"entry_lag": 3}, training=QUARTERLY))
    found = market_cuts(late, Planner(build_defs(late), late), "2023-01", "2024-12", every_month=False)
    assert {cut.day: cut.why for cut in found[2:]} == {
        date(2024, 10, 3): "execution session",
        date(2024, 10, 1): "first session of a month",
    }


def test_where_no_month_trains_the_same_sessions_of_a_month_are_cut(profile: Profile, planner: Planner) -> None:
    found = market_cuts(profile, planner, "2024-01", "2024-03", every_month=False)
    assert [cut.why for cut in found] == ["middle of a month", "last session of a month", "execution session"]
    assert {cut.day.month for cut in found} == {2, 3}


def test_cuts_of_a_whole_history_go_through_the_months_of_the_year(profile: Profile, planner: Planner) -> None:
    found = market_cuts(profile, planner, "2018-01", "2024-12", every_month=True)
    spread = [cut for cut in found if cut.reach == 14]
    assert len(spread) == 7
    assert len({cut.day.month for cut in spread}) == 7
    assert {cut.why for cut in spread} == {f"{name} of a month" for name in ("middle", "last session", "first session")}
    assert {cut.day.year for cut in found if cut.why == "training session"} == {2018, 2021, 2024}
    # Every month is computed anew by some cut's run.
    reached = {(cut.day.year * 12 + cut.day.month - back) for cut in spread for back in range(cut.reach or 0)}
    assert reached >= set(range(2018 * 12 + 6, 2024 * 12 + 11))


def test_each_event_is_cut_the_session_before_it(profile: Profile) -> None:
    found = events(profile, tickers(profile, "cons_staples"), FIRST, END)
    assert set(found.columns) == {"ticker", "event", "cut"}
    of = {(ticker, event): day for ticker, event, day in found.iter_rows()}
    assert of["STA15", "delisting"] == date(2024, 3, 8)
    assert of["STA15", "delisting known"] == date(2024, 3, 11)  # two sessions after the last bar
    assert of["STA15", "leaves"] == date(2024, 3, 8)
    assert of["DIS15", "sector move"] == date(2024, 4, 12)
    assert of["STA05", "split"] == date(2024, 3, 18)
    bars = profile.source.bars(["STA05"], FIRST, END)
    assert bars.filter(pl.col("split_ratio") != 1.0)["date"].to_list() == [date(2024, 3, 19)]
    published = profile.source.statements(["STA05"], END).filter(pl.col("published").is_between(FIRST, END))
    assert found.filter(pl.col("ticker") == "STA05", pl.col("event") == "statement").height == len(published) > 2
    assert found.filter(pl.col("event") == "release").height > 100
    joins = events(profile, tickers(profile, "cons_discretionary"), FIRST, END).filter(pl.col("event") == "joins")
    assert joins.rows() == [("DIS19", "joins", date(2023, 11, 30))]


def test_the_first_round_takes_the_rarest_events_and_the_others_follow(profile: Profile) -> None:
    names, days = tickers(profile, "cons_staples"), sessions(FIRST, END).tolist()
    found = events(profile, names, FIRST, END)
    rounds = by_event(found, names, days, 4)
    assert [len(cuts) for cuts in rounds] == [len(names)] * 4
    own = {name: [dict(cuts)[name] for cuts in rounds] for name in names}
    assert own["STA15"][0] == date(2024, 3, 11)
    assert all(len(set(cuts)) == len(cuts) for cuts in own.values())
    kinds = {event for ticker, event, day in found.iter_rows() if ticker in own and day in own[ticker]}
    assert kinds == {"delisting known", "delisting", "sector move", "leaves", "split", "halt", "statement"}
    assert kinds < set(EVENTS)


def test_sessions_are_cut_all_over_the_months_their_turns_first() -> None:
    days = sessions(date(2024, 1, 2), date(2024, 3, 28)).tolist()
    names = [f"T{number}" for number in range(22)]
    rounds = by_session(names, days, 3)
    assert [day for _, day in rounds[0][:4]] == [
        date(2024, 1, 31),
        date(2024, 2, 29),
        date(2024, 2, 1),
        date(2024, 3, 1),
    ]
    assert {day for cuts in rounds for _, day in cuts} == set(days)
    one = [day for _, day in rounds[0]]
    assert {day.month for day in one} == {1, 2, 3}
    assert by_session(names, [], 3) == []


def test_a_run_by_ticker_has_its_own_stretch_of_the_input_as_it_is(profile: Profile, tmp_path: object) -> None:
    base = Recomputed.at(tmp_path, profile.settings, None, profile)  # type: ignore[arg-type]
    names = ["universe", "fundamentals", "features", "candidates"]
    runs = AlteredRuns(profile, base, ["telecoms"], "2023-01", "2024-06", names)
    found = runs.of(["truncation", "events"], [Cut(date(2024, 3, 15))], 3, rounds=2)
    by_ticker = [run for run in found if run.days]
    assert [(run.first, run.last, run.names) for run in by_ticker] == [
        ("2023-01", "2024-06", ("universe", "fundamentals")),
        ("2023-01", "2024-06", ("universe", "fundamentals")),
        ("2024-02", "2024-04", None),
    ]
    assert all(isinstance(run.alteration, Perturbed) and run.alteration.by_ticker == run.days for run in by_ticker)
    stretches = windows(found)
    assert [(each.first, each.last, each.names) for each in stretches] == [
        ("2023-01", "2024-06", ("universe", "fundamentals")),
        ("2024-01", "2024-04", None),
    ]
    assert [sum(each.serves(run) for each in stretches) for run in found] == [1] * len(found)


@pytest.mark.parametrize("every_month", [False, True])
def test_a_part_asks_for_its_months_and_looks_into_failures(every_month: bool) -> None:
    asked = Part("demo", ("energy",), "2023-01", "2024-12", every_month=every_month).question()
    assert (asked.every_month, asked.diagnosed) == (every_month, True)
    assert asked.rounds == (12 if every_month else 3)
