import hashlib
import html
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import date
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from quant_assets.backtest.metrics import performance, sharpe, since_first_execution
from quant_assets.backtest.trials import Trial
from quant_assets.cli import portfolio_page
from quant_assets.cli.portfolio_page import PortfolioData
from quant_assets.reporting.ops_report import figures, number, percent, preview_png, render, track_length
from quant_assets.reporting.pages import counted, share
from quant_assets.reporting.report_data import ReportData, ReportFrames, gather
from quant_assets.schemas import DATASETS
from quant_assets.schemas.figures import FIGURES
from quant_assets.settings.results import ReportSettings

JUNE = date(2016, 6, 30)
HOSTILE = "<script>alert('$x^2$')</script>"


@pytest.fixture(scope="module")
def report(frames: ReportFrames) -> ReportData:
    return gather("healthcare", JUNE, frames, ReportSettings(), 20)


@pytest.fixture(scope="module")
def page(report: ReportData) -> str:
    return render(report).decode()


def value(frame: pl.DataFrame, metric: str, window: str) -> float | None:
    return frame.row(by_predicate=(pl.col("metric") == metric) & (pl.col("window") == window), named=True)["value"]


class Outline(HTMLParser):
    """Tags that are opened and closed in order, and every attribute that could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.outside: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.outside += [
            v for k, v in attrs if k in ("src", "href", "xlink:href", "action") and v and not v.startswith("#")
        ]
        self.ids += [v for k, v in attrs if k == "id" and v]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag != "meta":
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag != "br":
            while self.open and self.open[-1] == "br":
                self.open.pop()
            assert self.open.pop() == tag


def outline(text: str) -> Outline:
    parsed = Outline()
    parsed.feed(text)
    parsed.close()
    return parsed


def test_figures_follow_the_schema_and_the_frames(report: ReportData, frames: ReportFrames) -> None:
    found = figures(report)
    schema = {k: v for k, v in DATASETS["ops_report"].schema.items() if k != "report_file"}
    assert dict(found.schema) == schema
    assert not found.select("metric", "window").is_duplicated().any()
    assert set(found["as_of"]) == {JUNE}
    month = frames.backtest.filter(pl.col("date").is_between(date(2016, 6, 1), JUNE))
    assert value(found, "total_return", "month") == pytest.approx(month["equity"][-1] - 1, abs=1e-12)
    history = frames.backtest.filter(pl.col("date") >= date(2014, 7, 1))
    chained = history.group_by(pl.col("date").dt.truncate("1mo")).agg(pl.col("equity").last())["equity"].product()
    assert value(found, "total_return", "history") == pytest.approx(chained - 1, abs=1e-12)
    assert report.track["growth"][-1] == pytest.approx(chained, rel=1e-12)
    assert value(found, "sessions", "history") == len(history)
    assert value(found, "quarantined_bars", "month") == 2  # the one of May is not counted
    picks = frames.weights.filter(pl.col("as_of") == JUNE)["weight"]
    assert value(found, "effective_picks", "month") == pytest.approx(1 / (picks**2).sum(), rel=1e-12)
    assert value(found, "members", "month") == 24


def trials_of(frames: ReportFrames) -> list[Trial]:
    """The backtest itself, one with half its returns' luck, and one that was first tried in May 2016."""
    rows = frames.backtest.select(as_of="date", date="date", value="net_return", rank_ic=pl.lit(None, pl.Float64))
    other = rows.with_columns(value=pl.col("value") - 0.002 * (pl.int_range(pl.len()) % 2))
    late = rows.filter(pl.col("date") >= date(2016, 5, 2))
    return [
        Trial(name, "strategy", ("model",), "healthcare", trial["date"][0], trial)
        for name, trial in (("a", rows), ("b", other), ("c", late))
    ]


def test_no_sharpe_ratio_stands_alone(frames: ReportFrames) -> None:
    deflated = gather("healthcare", JUNE, frames, ReportSettings(), 20, trials_of(frames))
    found = figures(deflated)
    history = dict(found.filter(window="history").select("metric", "value").iter_rows())
    assert history["sharpe_bootstrap_low"] < history["sharpe"] < history["sharpe_bootstrap_high"]
    assert history["sharpe_hac_low"] < history["sharpe"] < history["sharpe_hac_high"]
    assert history["rank_ic_bootstrap_low"] < history["rank_ic"] < history["rank_ic_bootstrap_high"]
    assert (history["trials"], history["trials_with_sharpe"], history["overfitting_strategies"]) == (3, 2, 2)
    assert history["deflated_sharpe"] < history["probabilistic_sharpe"]
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", render(deflated).decode()))
    assert f"{percent(history['deflated_sharpe'])} after 3 logged trials, for independent returns, variance" in text
    endless = replace(deflated, evidence={**deflated.evidence, "minimum_track_record": 1e9})
    assert "more than 100 years for 95 %, for independent returns" in render(endless).decode()
    assert f"{percent(history['probabilistic_sharpe'])} that the true ratio is above 0, for independent returns" in text
    assert [track_length(each) for each in (None, 25_200.4, 1e9)] == ["–", "more than 100 years", "more than 100 years"]
    assert track_length(25_199.6) == "25,200 sessions"
    assert f"{number(history['sharpe_bootstrap_low'])} to {number(history['sharpe_bootstrap_high'])}" in text
    assert (
        f"{percent(history['overfitting_probability'], 0)} probable, "
        f"over 2 strategies and the {number(history['sessions'], 0)} sessions"
    ) in text
    # What was tried later does not count: neither the trial of May nor the later returns of the others.
    march = date(2016, 3, 31)
    cut = [replace(trial, measured=trial.measured.filter(pl.col("date") <= march)) for trial in trials_of(frames)[:2]]
    whole, known = (
        gather("healthcare", march, frames, ReportSettings(), 20, each) for each in (trials_of(frames), cut)
    )
    assert figures(whole).equals(figures(known))
    assert value(figures(whole), "trials", "history") == 2


def test_a_short_track_record_has_no_ratio(report: ReportData) -> None:
    assert report.to_date is not None
    for sessions, said in ((20, False), (19, True)):
        short = replace(
            report,
            track=report.track.head(sessions),
            to_date={**report.to_date, "sessions": sessions},
            evidence=dict.fromkeys(report.evidence),
        )
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", render(short).decode()))
        history = performance(short.track)
        for label, ratio in (("Sharpe", history["sharpe"]), ("Information", history["information_ratio"])):
            assert (f"{label} ratio too short to say – –" in text) == said, "beside the intervals"
            assert (f"{label} ratio {number(ratio)} – –" in text) != said
        assert ("Sharpe ratio too short to say since" in text) == said, "the tile"
        assert (f"Sharpe ratio {number(report.to_date['sharpe'])} since" in text) != said
        page = portfolio_page.render(PortfolioData(JUNE, [], [], [], short.to_date, short.track.head(0)))
        assert (b"too short to say" in page) == said


def test_there_is_one_track_record_and_every_window_is_named(
    frames: ReportFrames, report: ReportData, page: str
) -> None:
    found = figures(report)
    track = since_first_execution(frames.backtest)
    whole, part = performance(track), performance(report.track)
    for name in ("sessions", "total_return", "annualised_return", "annualised_volatility", "sharpe", "max_drawdown"):
        assert value(found, name, "to_date") == pytest.approx(whole[name], rel=1e-12), name
        assert value(found, name, "history") == part[name]
    assert part["sharpe"] != whole["sharpe"]
    assert (value(found, "months", "to_date"), value(found, "months", "history")) == (29, 24)
    tried = trials_of(frames)[0].returns(date.min, JUNE)["value"].to_list()
    assert sharpe(tried) == whole["sharpe"], "`quant trials` shows the same"
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    all_of_it, shown = "since 2014-02-03, 29 months", "since 2014-07-01, 24 months"
    assert f"Sharpe ratio {number(whole['sharpe'])} {all_of_it}; {number(part['sharpe'])} {shown} (95 %: " in text
    assert (
        f"Return per year {percent(whole['annualised_return'], 1, True)} net; {len(track)} sessions {all_of_it}" in text
    )
    assert f"Volatility per year {percent(whole['annualised_volatility'])} of daily net returns {all_of_it}" in text
    assert f"Largest drawdown {percent(whole['max_drawdown'])} {all_of_it}; this month" in text
    assert f"against the equal-weight sector, {shown}" in text
    assert f"Uncertainty of the ratios {shown}" in text


def test_every_figure_is_explained(report: ReportData) -> None:
    assert set(figures(report)["metric"]) == set(FIGURES)


def test_the_planted_forecast_shows_in_the_rank_ic(report: ReportData) -> None:
    mean, error = report.rank_ic, report.rank_ic_standard_error
    assert mean is not None
    assert error is not None
    assert mean > 3 * error
    assert report.ic["date"].max() < date(2016, 6, 2)  # 21 sessions of labels are not known yet


def test_labels_known_later_and_everything_dated_later_change_nothing(
    frames: ReportFrames, empty_frames: ReportFrames
) -> None:
    as_of, settings = date(2016, 2, 29), ReportSettings()
    dated = {"labels": "known_at", "backtest": "date", "predictions": "date", "quarantine": "date"}
    dated |= {"price_events": "panel_from", "versions": "date"}
    cut = {
        field.name: getattr(frames, field.name).filter(pl.col(dated.get(field.name, "as_of")) <= as_of)
        for field in fields(ReportFrames)
    }
    whole, known = (gather("it", as_of, f, settings, 20) for f in (frames, ReportFrames(**cut)))
    assert whole.ic.equals(known.ic)
    assert len(whole.ic) > 0
    assert figures(whole).equals(figures(known))
    assert render(whole) == render(known)
    assert preview_png(whole) == preview_png(known)
    assert gather("it", as_of, replace(frames, labels=empty_frames.labels), settings, 20).rank_ic is None


def test_a_date_whose_only_known_labels_are_delistings_has_no_ic(frames: ReportFrames) -> None:
    early = (pl.col("date") == JUNE) & pl.col("ticker").is_in(["T01", "T02", "T03", "T04"])
    ahead = frames.predictions.filter(early).select(
        "ticker", "date", "horizon", forward_return="prediction", known_at="date"
    )
    more = replace(frames, labels=pl.concat([frames.labels, ahead], how="diagonal"))
    assert gather("it", JUNE, more, ReportSettings(), 20).ic.equals(gather("it", JUNE, frames, ReportSettings(), 20).ic)


def test_history_months_bound_what_is_read(frames: ReportFrames) -> None:
    settings = ReportSettings(history_months=3)
    start = pl.col("date") >= date(2016, 4, 1)
    cut = replace(
        frames,
        backtest=frames.backtest.filter(start),
        predictions=frames.predictions.filter(start),
        labels=frames.labels.filter(start),
        weights=frames.weights.filter(pl.col("as_of") >= date(2016, 5, 1)),
    )
    assert render(gather("it", JUNE, frames, settings, 20)) == render(gather("it", JUNE, cut, settings, 20))
    assert value(figures(gather("it", JUNE, frames, settings, 20)), "sessions", "history") == 64


def test_the_track_starts_at_the_first_execution_and_the_benchmark_with_it(frames: ReportFrames) -> None:
    early = gather("it", date(2014, 3, 31), frames, ReportSettings(), 20)
    assert early.track["date"][0] == date(2014, 2, 3)  # decided on 31 January, nothing was held before
    assert early.track["benchmark_return"][0] is None
    assert early.track["benchmark_growth"][0] == 1.0
    assert gather("it", JUNE, frames, ReportSettings(), 20).track["benchmark_return"].null_count() == 0


def test_the_page_is_self_contained_well_formed_and_small(page: str) -> None:
    parsed = outline(page)
    assert parsed.open == []
    assert parsed.outside == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert not parsed.tags & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"url\((?!#)", page)
    assert len(page.encode()) < 150_000
    assert page.lstrip().startswith("<!doctype html>")


def test_the_page_shows_the_picks_and_the_data_notes(page: str, report: ReportData) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for pick in report.picks.to_dicts():
        assert re.search(rf"{pick['ticker']}\s+{re.escape(percent(pick['weight']))}", text)
    for note in (
        "Health Care",
        "June 2016",
        "abcdef201606",
        "2016-05-31",
        "20-session forecast",
        "2 × ohlc violation",
        "24, of which 22 passed",
    ):
        assert note in text, note
    assert report.regime is not None
    assert str(report.regime["reason"]) in text


def test_without_a_model_the_composite_score_is_named(make_frames: Callable[..., ReportFrames]) -> None:
    text = render(gather("energy", JUNE, make_frames(with_model=False), ReportSettings(), 20)).decode()
    assert "selection score (no forecast at this close)" in text
    assert "no forecast has matured yet" in text
    assert "P(up)" not in text


def test_a_sector_in_which_nothing_has_happened_has_a_page(empty_frames: ReportFrames) -> None:
    nothing = gather("re", JUNE, empty_frames, ReportSettings(), 20)
    assert "no positions yet" in render(nothing).decode()
    assert value(figures(nothing), "total_return", "history") is None
    assert value(figures(nothing), "quarantined_bars", "month") == 0
    assert preview_png(nothing).startswith(b"\x89PNG")


def test_a_track_that_lost_everything_has_a_page(frames: ReportFrames) -> None:
    lost = (pl.col("date") >= date(2016, 3, 10)) & (pl.col("date") < date(2016, 4, 1))
    backtest = frames.backtest.with_columns(
        equity=pl.when(lost).then(0.0).otherwise("equity"),
        net_return=pl.when(pl.col("date") == date(2016, 3, 10)).then(-1.0).otherwise("net_return"),
    )
    report = gather("it", JUNE, replace(frames, backtest=backtest), ReportSettings(), 20)
    assert report.track["growth"][-1] == 0.0
    assert value(figures(report), "total_return", "history") == -1.0
    assert "growth" in render(report).decode().lower()


def test_an_index_without_any_bar_has_a_page(frames: ReportFrames) -> None:
    nobody = frames.coverage.filter(pl.col("provider") == "any").with_columns(with_bar=pl.lit(0, pl.Int32))
    report = gather("it", JUNE, replace(frames, coverage=nobody), ReportSettings(), 20)
    assert report.providers == []
    assert report.coverage["of_provider"].to_list() == [[], []]
    assert "Index members with prices" in render(report).decode()


def test_faulty_prices_are_counted_by_ticker_and_year_as_known(frames: ReportFrames) -> None:
    # T03's of 2015 came with it into the sector in May 2016, T05's lies before the history, and T04's was kept.
    expected = [("T01", 2016, 3, 1, 1), ("T03", 2015, 0, 0, 1)]
    report = gather("it", JUNE, frames, ReportSettings(), 20)
    assert report.faults.rows() == expected
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", render(report).decode()))
    assert "T01 2016 3 1 1 T03 2015 0 0 1" in text
    found = figures(report)
    counted = [value(found, name, "history") for name in ("refused_bars", "repaired_events", "listed_events")]
    assert counted == [3, 1, 2]
    early = gather("it", date(2016, 4, 29), frames, ReportSettings(), 20)
    assert early.faults.rows() == [("T01", 2016, 0, 0, 1)]


def test_a_hostile_ticker_is_text(make_frames: Callable[..., ReportFrames]) -> None:
    hostile = make_frames(names=[HOSTILE + str(i) for i in range(24)])
    text = render(gather("it", JUNE, hostile, ReportSettings(), 20)).decode()
    parsed = outline(text)
    assert "script" not in parsed.tags
    assert (
        html.unescape(text).count(HOSTILE) == 4 + 4 + 3 + 3
    )  # four picks in the table and in the picture, three shorts in their table, and three names that were sold
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", text)
    assert sum(HOSTILE in html.unescape(label) for label in drawn) == 4  # whole, not as a formula


@pytest.mark.slow
def test_the_same_bytes_in_another_process_with_another_home_and_matplotlibrc(
    frames: ReportFrames, page: str, report: ReportData, tmp_path: Path
) -> None:
    for field in fields(ReportFrames):
        getattr(frames, field.name).sample(fraction=1.0, shuffle=True, seed=3).write_parquet(
            tmp_path / f"{field.name}.parquet"
        )
    (tmp_path / "matplotlibrc").write_text(
        "axes.linewidth: 5\nlegend.fontsize: 20\nxtick.major.pad: 11\n", encoding="utf-8"
    )
    script = f"""
import hashlib, sys, polars as pl
from dataclasses import fields
from datetime import date
from quant_assets.reporting.report_data import ReportFrames, gather
from quant_assets.backtest.trials import Trial
from quant_assets.reporting.ops_report import preview_png, render
from quant_assets.settings.results import ReportSettings
frames = ReportFrames(**{{f.name: pl.read_parquet(f"{tmp_path}/{{f.name}}.parquet") for f in fields(ReportFrames)}})
assert "matplotlib" not in sys.modules
report = gather("healthcare", date(2016, 6, 30), frames, ReportSettings(), 20)
print(hashlib.sha256(render(report)).hexdigest(), hashlib.sha256(preview_png(report)).hexdigest())
assert "matplotlib.pyplot" not in sys.modules
"""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "77",
        "MPLCONFIGDIR": str(tmp_path),
        "TZ": "Asia/Tokyo",
        "SOURCE_DATE_EPOCH": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        hashlib.sha256(page.encode()).hexdigest(),
        hashlib.sha256(preview_png(report)).hexdigest(),
    ]


def test_the_preview_is_a_small_png(report: ReportData) -> None:
    from PIL import Image

    data = preview_png(report)
    with Image.open(BytesIO(data)) as picture:
        assert picture.size == (520, 240)
        assert picture.info == {}  # no date, no program
        assert len(picture.convert("RGB").getcolors(1 << 16) or []) > 4  # lines were drawn
    assert len(data) < 40_000


@pytest.mark.slow
def test_a_page_takes_a_fraction_of_a_second(report: ReportData) -> None:
    render(report)
    best = min(_seconds(render, report) for _ in range(3))
    assert best < 1.0  # about 0.2 s on an idle core


def _seconds(work: Callable[[ReportData], bytes], report: ReportData) -> float:
    start = time.process_time()
    work(report)
    return time.process_time() - start


def test_what_was_traded_since_the_month_before_is_shown(frames: ReportFrames, report: ReportData, page: str) -> None:
    before = dict(frames.weights.filter(as_of=date(2016, 5, 31)).select("ticker", "weight").iter_rows())
    now = dict(frames.weights.filter(as_of=JUNE).select("ticker", "weight").iter_rows())
    assert report.before == date(2016, 5, 31)
    assert dict(report.picks.select("ticker", "before").iter_rows()) == {name: before.get(name) for name in now}
    assert dict(report.left.iter_rows()) == {name: each for name, each in before.items() if name not in now}
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for name, weight in now.items():
        word = "" if name in before else "new "
        assert f"{name} {percent(weight)} {word}{percent(weight - before.get(name, 0.0), 1, True)}" in text
    sold = ", ".join(f"{name} ({percent(weight)})" for name, weight in report.left.iter_rows())
    assert f"No longer held since the decision of 2016-05-31: {sold}." in text
    alone = replace(frames, weights=frames.weights.filter(as_of=JUNE))
    first = render(gather("it", JUNE, alone, ReportSettings(), 20)).decode()
    assert "Nothing was held by the decision of the month before." in first


def test_returns_of_months_and_years_are_those_of_the_track(report: ReportData, page: str) -> None:
    months = report.monthly_returns
    net = report.track.group_by(pl.col("date").dt.truncate("1mo"), maintain_order=True).agg(
        (pl.col("net_return") + 1).product() - 1
    )
    assert [value for _, value in months] == pytest.approx(net["net_return"].to_list(), rel=1e-9)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    shown = " ".join(percent(value, 1, True) for day, value in months if day.year == 2016)
    year = percent(
        report.track["growth"][-1] / report.track.filter(pl.col("date").dt.year() < 2016)["growth"][-1] - 1, 1, True
    )
    assert f"2016 {shown} {year}" in text


def test_counts_and_shares_for_people() -> None:
    assert [counted(each, "member") for each in (0, 1, 2, 1200, None)] == [
        "0 members",
        "1 member",
        "2 members",
        "1,200 members",
        "–",
    ]
    assert counted(2, "strategy", "strategies") == "2 strategies"
    shares = [
        share(*each) for each in ((220, 221), (221, 221), (0, 221), (1, 900), (480, 500), (99_999, 100_000), (1, 0))
    ]
    assert shares == ["99.5%", "100%", "0%", "0.1%", "96%", "over 99.99%", "–"]


def test_numbers_for_people() -> None:
    assert percent(-0.1234) == "−12.3%"
    assert percent(0.1234, 2, True) == "+12.34%"
    assert number(-1234.5, 1) == "−1,234.5"
    assert (percent(None), number(None)) == ("–", "–")


def test_coverage_of_the_index_and_missing_bars_are_shown(report: ReportData, page: str) -> None:
    assert report.providers == ["first", "second"]
    assert report.coverage.rows() == [(day, 500, 480, 10, [300, 250], 60, 57) for day in (date(2015, 6, 1), JUNE)]
    assert report.absent.rows() == [("halt", 3, 1)]  # May's is not counted
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "2015-06-01 500 10 300 250 480 96% 60 57" in text
    assert "3 sessions of 1 member: halt" in text


def test_every_model_that_forecast_is_named_the_followed_one_first(frames: ReportFrames) -> None:
    def version(model: str, horizon: int) -> dict[str, object]:
        return {"date": JUNE, "model": model, "model_version": f"{model}{horizon}", "horizon": horizon}

    own = frames.versions.filter(pl.col("date") == JUNE)
    given = [version("ensemble", 20), version("deep", 60), version("deep", 5), version("deep", 20), version("a", 60)]
    others = pl.DataFrame([*given, version("a", 5)], own.schema)
    trained = {"as_of": date(2016, 3, 31), "model": "a", "horizon": 5, "model_version": "a5"}
    told = {"status": "trained", "rows": 700, "rank_ic": -0.02}
    later = {"as_of": JUNE, "model": "deep", "horizon": 20, "model_version": "deep20"} | told
    checkpoint = pl.concat([frames.checkpoint, pl.DataFrame([trained | told, later], frames.checkpoint.schema)])
    report = gather(
        "energy",
        JUNE,
        replace(frames, versions=pl.concat([others, frames.versions]), checkpoint=checkpoint),
        ReportSettings(),
        20,
    )
    assert [(each["model_version"], each["followed"], each["as_of"]) for each in report.models] == [
        ("abcdef201606", True, date(2016, 5, 31)),
        ("a5", False, date(2016, 3, 31)),
        ("deep20", False, None),
        ("ensemble20", False, None),
    ], "what was trained at the decision itself had no part in it"
    page = render(report).decode()
    assert "a a5, trained at 2016-03-31 on 700 rows, rank IC at 5 sessions over its test folds −0.020</dd>" in page
    assert page.count("Other models") == 1
    assert "Other models" not in render(gather("energy", JUNE, frames, ReportSettings(), 20)).decode()
