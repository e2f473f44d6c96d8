"""What happens at the session after a cut: every kind of event meets some ticker then, and nothing is known before."""

from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.audit.inputs import altered_source
from quant_assets.audit.perturbation import Perturbed
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets.sources.base import Source

CUT, NEXT, END = date(2024, 5, 16), date(2024, 5, 17), date(2024, 12, 31)
START = date(2023, 1, 1)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile(load_settings("demo", as_of=END, partitions={"start": "2023-01"}))


@pytest.fixture(scope="module")
def tickers(profile: Profile) -> list[str]:
    return profile.source.sector_snapshots(END)["ticker"].unique().sort().to_list()


@pytest.fixture(scope="module")
def altered(profile: Profile) -> Source:
    return altered_source(profile, Perturbed(CUT), profile.settings)


def test_tickers_split_pay_stop_halt_and_are_suspended_at_the_next_session(
    profile: Profile, altered: Source, tickers: list[str]
) -> None:
    given, bars = (each.bars(tickers, START, END) for each in (profile.source, altered))
    there = set(given.filter(pl.col("date") == NEXT)["ticker"])
    at_once = bars.filter(pl.col("date") == NEXT)
    for happens in (pl.col("split_ratio") == 2.0, pl.col("dividend") > 0.0, pl.col("volume") == 0.0):
        assert 0.03 * len(there) < at_once.filter(happens).height < 0.4 * len(there)
    suspended = at_once.filter(pl.col("volume") == 0.0)
    assert suspended.select((pl.col("high") == pl.col("low")).all()).item()
    last = dict(bars.group_by("ticker").agg(pl.col("date").max()).iter_rows())
    stopped = {ticker for ticker in there if last[ticker] == CUT}
    assert 0.03 * len(there) < len(stopped) < 0.2 * len(there)
    halted = there - set(at_once["ticker"]) - stopped
    assert 0.05 * len(there) < len(halted) < 0.3 * len(there)
    assert all(last[ticker] > NEXT for ticker in halted)
    # Who splits has half the price from then on.
    split = at_once.filter((pl.col("split_ratio") == 2.0) & (pl.col("volume") > 0.0))
    both = split.join(given, on=["ticker", "date"])
    assert both.select((pl.col("close") / pl.col("close_right")).median()).item() == pytest.approx(0.5, abs=0.15)


def test_tickers_move_join_and_leave_at_the_next_session(profile: Profile, altered: Source) -> None:
    moved, before = (
        each.sector_snapshots(END).filter(pl.col("known_at") == NEXT) for each in (altered, profile.source)
    )
    assert len(moved) > len(before) + 10
    given, members = (each.membership(END) for each in (profile.source, altered))
    assert members.filter(pl.col("end_date") == NEXT).height > 10
    back = members.filter(pl.col("start_date") == NEXT)
    assert len(back) > len(given.filter(pl.col("start_date") == NEXT))


def test_statements_change_sign_number_and_dates(profile: Profile, altered: Source, tickers: list[str]) -> None:
    version = ["ticker", "period_end", "frequency", "version", "provider"]
    given, found = (each.statements(tickers, END) for each in (profile.source, altered))
    lag = timedelta(days=profile.settings.fundamentals.min_lag_days)
    later = given.filter(pl.col("published") + lag > CUT)
    assert_frame_equal(found.filter(pl.col("published") + lag <= CUT), given.filter(pl.col("published") + lag <= CUT))
    both = later.join(found, on=version)
    assert 0.7 * len(later) < len(both) < len(later)
    assert 0.2 < both.select((pl.col("net_income") * pl.col("net_income_right") < 0.0).mean()).item() < 0.4
    assert both.select((pl.col("revenue_right") > 0.0).all()).item()
    sooner = both.filter(pl.col("published_right") < pl.col("published"))
    assert len(sooner) > 20
    assert set(sooner["published_right"] + lag) == {CUT + timedelta(days=1)}
    assert both.filter(pl.col("published_right") > pl.col("published")).height > 20
    assert both.select((pl.col("published_right") > pl.col("period_end")).all()).item()
    after = found.sort(version).with_columns(before=pl.col("published").shift().over(version[:3]))
    assert after.select((pl.col("published") >= pl.col("before")).all()).item()


def test_each_ticker_keeps_what_was_known_by_its_own_day(profile: Profile, tickers: list[str]) -> None:
    early, late, series = tickers[0], tickers[1], "VIXCLS"
    days = {early: date(2024, 3, 5), late: CUT, series: date(2024, 2, 1)}
    source = altered_source(profile, Perturbed(min(days.values()), by_ticker=tuple(days.items())), profile.settings)
    given, found = (each.bars(tickers[:4], START, END) for each in (profile.source, source))
    for ticker in tickers[:4]:
        of, own = (rows.filter(pl.col("ticker") == ticker) for rows in (given, found))
        known = pl.col("date") <= days.get(ticker, END)
        assert_frame_equal(own.filter(known), of.filter(known))
        changed = own.filter(~known).join(of, on=["ticker", "date"]).filter(pl.col("close") != pl.col("close_right"))
        assert (len(changed) > 5) == (ticker in days)
    macro, other = (each.macro(END) for each in (profile.source, source))
    differ = macro.with_columns(other=other["value"]).filter(pl.col("value") != pl.col("other"))
    assert set(differ["series_id"]) == {series}
    assert (differ["period"] >= date(2024, 1, 31)).all()
    delisted = source.delistings(tickers, END)
    assert_frame_equal(
        delisted.filter(~pl.col("ticker").is_in(list(days))),
        profile.source.delistings(tickers, END).filter(~pl.col("ticker").is_in(list(days))),
    )


def test_a_ticker_whose_delisting_was_known_is_not_delisted_again_when_it_stops(profile: Profile) -> None:
    # STA08 is presumed delisted since 14 March, and would trade again in April: instead it stops for good.
    known = [("STA08", date(2024, 2, 22), date(2024, 3, 14))]
    for seed in range(1, 40):
        source = altered_source(profile, Perturbed(date(2024, 3, 15), seed=seed), profile.settings)
        if source.bars(["STA08"], date(2024, 2, 23), END).is_empty():
            found = source.delistings(["STA08"], END)
            assert found.select("ticker", "last_session", "known_at").rows() == known
            return
    pytest.fail("no seed lets the ticker stop before it trades again")
