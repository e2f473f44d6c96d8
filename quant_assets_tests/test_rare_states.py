"""What must hold of every dataset in markets where rare things happen at once: its contract, that a range equals its
months, and that what was known only later changes nothing before."""

import importlib
import inspect
import math
import pkgutil
import sys
import threading
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import date
from types import CodeType, FrameType

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.backtest.factor_summary import summaries
from quant_assets.backtest.live_record import JUDGED, REALISED, judged, realised
from quant_assets.backtest.metrics import UNITS, performance, since_first_execution
from quant_assets.backtest.trials import EVIDENCE_UNITS, MEASURED, Trial, evidence
from quant_assets.checks import breaches, selection_differences, sessions_explained
from quant_assets.features.library import SETS, FeatureLibrary, ready_made
from quant_assets.grains import DAY, MONTH
from quant_assets.learning.gate import beaten, gated, suspected
from quant_assets.learning.metrics import best_returns, daily_ic, evaluate
from quant_assets.market import point_in_time
from quant_assets.market.bars import company_bars
from quant_assets.market.containment import marked_members
from quant_assets.market.reconciliation import by_ticker
from quant_assets.market.share_counts import spin_off_correction, spin_offs
from quant_assets.market.universe import listed, most_liquid, unclassified
from quant_assets.partitions import month_of, month_range, shift_month
from quant_assets.portfolio.ledger import said
from quant_assets.reporting import daily_report, risk_page, stock_data, stock_page, tear_sheet
from quant_assets.reporting.ops_report import figures, preview_png, render
from quant_assets.reporting.report_data import gather
from quant_assets.reporting.selection_plot import selection_png
from quant_assets.reporting.tear_sheet_plot import strongest_png
from quant_assets.schemas import CHECKPOINTS, DATASETS, LIVE
from quant_assets.settings.domain import BarSettings, CandidateSettings
from quant_assets.settings.model_use import PromotionSettings
from quant_assets.settings.results import ReportSettings, StatisticsSettings
from quant_assets.settings.scoring import ScoreSettings
from quant_assets.signals.candidates import candidates
from quant_assets.signals.selection import by_reason, compare, selection, turnover
from quant_assets_tests.synthetic import assert_identical
from quant_assets_tests.synthetic_rare import (
    DAYS,
    ENDS,
    EVERYTHING,
    LOOKS,
    SECTORS,
    Life,
    Rare,
    examples,
    market,
    markets,
)
from quant_assets_tests.synthetic_rare_datasets import BY_SQL, DERIVED, computed, everything, report_frames
from quant_assets_tests.synthetic_rare_learning import features_of
from quant_assets_tests.synthetic_rare_market import market_datasets
from quant_assets_tests.synthetic_rare_reads import (
    CANDIDATES,
    EVERY,
    FACTOR_MONTHS,
    WEIGHTS,
    Months,
    Reads,
    Stored,
)

STATISTICS = StatisticsSettings(bootstrap_replications=100)


def assert_contracts(stored: Stored, through: date, names: Iterable[str]) -> None:
    """Columns and types, also where there is no row, keys, nulls, bounds, and that nothing was known later."""
    for name, rows in ((name, stored[name]) for name in names):
        dataset = EVERY[name]
        rows = dataset.conform(rows)
        loaded = rows.with_columns(month=MONTH.label(dataset.dated_by))
        assert {check: what for check, what in breaches(dataset, loaded, through).items() if what} == {}, name
        for each in dataset.references:
            lost = each.absent(dataset.grain.head, rows, lambda other: stored[other].lazy())
            assert lost.is_empty(), (name, str(each), lost)


def assert_the_months_alone(rare: Rare, stored: Stored, first: str, last: str) -> None:
    """A run of some months, or of one, gives the whole range's rows of them, bit for bit and in the same order."""
    alone = Months(first, last, rare.through)
    found = market_datasets(rare, alone)
    found |= {name: computed(stored, alone, name) for name in DERIVED}
    for name, rows in found.items():
        try:
            assert_identical(EVERY[name].conform(rows), EVERY[name].conform(alone.own(name, stored[name])))
        except AssertionError as error:
            raise AssertionError(f"{name} of {first} to {last} alone: {error}") from error


def assert_nothing_ahead(rare: Rare, stored: Stored, cut: date) -> None:
    """What had been known at the close of a day gives the same rows as far as they were known then."""
    _, earlier = everything(rare.known(cut))
    for name, rows in earlier.items():
        dataset = EVERY[name]
        known = pl.col(dataset.known_at) <= cut
        then, now = rows.filter(known), stored[name].filter(known)
        if dataset.dated_by == "as_of":  # the decision of a running month is provisional
            then = then.filter(pl.col("as_of").is_in(now["as_of"].unique().implode()))
        try:
            assert_identical(dataset.conform(then), dataset.conform(now))
        except AssertionError as error:
            raise AssertionError(f"{name} as known at {cut}: {error}") from error


def assert_schema(rows: pl.DataFrame, columns: dict[str, pl.DataType | type[pl.DataType]], key: list[str]) -> None:
    """Columns and types, each key once and in order, and no number that is none."""
    assert dict(rows.schema) == columns
    assert rows.equals(rows.sort(key))
    assert rows.select(pl.struct(key).is_duplicated().any()).item() is not True
    assert rows.select((~pl.selectors.float().is_finite()).any()).fill_null(False).to_numpy().any() == False  # noqa: E712


def assert_figures(found: Mapping[str, float | None], names: Iterable[str]) -> None:
    """Every figure is there, and a number or missing."""
    assert list(found) == list(names)
    assert {name: value for name, value in found.items() if value is not None and not math.isfinite(value)} == {}


def tried(backtest: pl.DataFrame) -> list[Trial]:
    """Two strategies that earned the same, one that earned nothing, one without a session, and a training."""
    month_end = pl.col("date").max().over(pl.col("date").dt.month())
    rows = backtest.select("date", as_of=month_end, value="net_return", rank_ic=pl.lit(None, pl.Float64))
    rows = rows.select(list(MEASURED))
    measured = {"a": rows, "b": rows, "c": rows.with_columns(value=pl.lit(0.0)), "d": rows.clear()}
    found = [Trial(name, "strategy", (), SECTORS[0], DAYS[0], each) for name, each in measured.items()]
    return [*found, Trial("e", "training", (), SECTORS[0], DAYS[0], rows.with_columns(rank_ic="value"), 5)]


def assert_what_is_told_beside(rare: Rare, stored: Stored) -> None:
    """What no dataset holds: figures, comparisons and reports, of the first and the last decision."""
    months = Months(month_of(DAYS[0]), month_of(rare.through), rare.through)
    decisions, days = months.decisions, months.sessions()
    in_sql = {name: computed(stored, months, name) for name in BY_SQL}
    assert_contracts(Stored(stored | in_sql), rare.through, in_sql)
    month = MONTH.label("as_of")
    chosen, again = stored["candidates"].with_columns(month=month), in_sql["candidates_sql"].with_columns(month=month)
    assert selection_differences(chosen, again) == {}
    assert sessions_explained(stored["universe"], stored["prices"], stored["absences"]) == []
    without = unclassified(rare.membership, rare.snapshots, days)
    assert_schema(without, {"ticker": pl.String, "first_date": pl.Date, "last_date": pl.Date}, ["ticker"])
    compared = company_bars(rare.bars, rare.delistings, days, BarSettings()).compared
    assert by_ticker(compared).schema.names()[:3] == ["ticker", "provider", "other_provider"]
    period = ["ticker", "period_end", "frequency", "provider"]
    versions = rare.statements.with_columns(known_at=pl.coalesce("published", "period_end"))
    for as_of in (decisions[0], decisions[-1]):
        in_force = point_in_time.known(versions, period, as_of)
        assert_schema(in_force, dict(versions.schema), period)
        assert_schema(
            point_in_time.newest(versions, ["ticker"], "period_end", as_of), dict(versions.schema), ["ticker"]
        )
    begins = pl.DataFrame(schema={"ticker": pl.String, "since": pl.Date})
    trading = listed(rare.bars.select("ticker", "date"), rare.delistings, begins)
    volumes = rare.bars.select("ticker", "date", dollar_volume=pl.col("close") * pl.col("volume")).unique(
        ["ticker", "date"], keep="first", maintain_order=True
    )
    for found in (trading, most_liquid(volumes, trading, 2, 5, days)):
        assert_schema(found, dict(trading.schema), ["ticker", "start_date"])
        assert found["ticker"].is_in(rare.bars["ticker"].implode()).all()
    splits = rare.bars.select("ticker", day="date", ratio=pl.col("split_ratio")).drop_nulls()
    counts = versions.select("ticker", "period_end", "shares", company="ticker", day="known_at")
    correction = spin_off_correction(counts.with_columns(vintage=pl.lit(rare.through)), splits)
    assert (correction.dtype, len(correction)) == (pl.Float64, len(counts))
    assert_schema(spin_offs(splits), {"ticker": pl.String, "day": pl.Date, "ratio": pl.Float64}, ["ticker"])
    assert_what_is_said(stored, months)
    for sector in SECTORS:
        read = Reads(stored, months, sector)
        chosen, other = (
            selection(read("indicators"), read("universe"), decisions, settings)
            for settings in (CANDIDATES, CandidateSettings(standardise="rank", min_history_sessions=1))
        )
        assert sum(map(len, by_reason(chosen.excluded).values())) == len(chosen.excluded)
        marked = marked_members(read("prices"), read("universe"))
        assert_schema(marked, {"ticker": pl.String, "date": pl.Date}, ["ticker", "date"])
        moved = turnover(chosen.candidates, decisions)
        assert_schema(moved, {"as_of": pl.Date, "long_turnover": pl.Float64, "short_turnover": pl.Float64}, ["as_of"])
        assert moved["as_of"].to_list() == decisions[1:]
        assert chosen.coverage["as_of"].to_list() == decisions
        assert set(chosen.coverage.drop("as_of").dtypes) == {pl.UInt32}
        assert chosen.candidates.equals(candidates(read("indicators"), read("universe"), decisions, CANDIDATES))
        both = compare(chosen.names, other.candidates)
        assert set(both["change"]) <= {"enters", "leaves", "moves", "stays"}
        assert both.filter(pl.struct("as_of", "ticker").is_duplicated()).is_empty()
        backtest = read("backtest")
        for frame in (backtest, since_first_execution(backtest), backtest.clear()):
            assert frame.schema == backtest.schema
            assert_figures(performance(frame), UNITS)
            assert_figures(evidence(frame, tried(backtest), STATISTICS), EVIDENCE_UNITS)
        judged = read("predictions").join(read("labels"), on=["ticker", "date", "horizon"])
        judged = judged.filter(pl.col("horizon") == 5)
        assert_schema(
            daily_ic(judged),
            {"date": pl.Date, "names": pl.Int32, "ic": pl.Float64, "rank_ic": pl.Float64},
            ["date"],
        )
        assert_schema(best_returns(judged), {"date": pl.Date, "best_return": pl.Float64}, ["date"])
        assert_figures(asdict(evaluate(judged, 5)), asdict(evaluate(judged.clear())))
        checkpoints, bound = (
            read(CHECKPOINTS.name).with_columns(sector=pl.lit(sector)),
            PromotionSettings(max_daily_ic=0.001),
        )
        found = gated(checkpoints, bound, ())
        assert len(found) == (checkpoints["status"] == "trained").sum()
        assert len(suspected(found, bound)) == (~found["plausible"]).sum()
        assert beaten(found) == [], "there is no baseline"
        for as_of in (decisions[0], decisions[-1]):
            report = gather(
                sector, as_of, report_frames(stored, sector), ReportSettings(), 5, tried(backtest), STATISTICS
            )
            rows = figures(report).with_columns(report_file=pl.lit("page"), sector=pl.lit(sector))
            dataset = DATASETS["ops_report"]
            assert not any(breaches(dataset, dataset.conform(rows), as_of).values())


def assert_what_is_said(stored: Stored, months: Months) -> None:
    """What a ledger says of a session inside a month, its page, and what came of it."""
    parts = []
    for sector in SECTORS:
        read = Reads(stored, months, sector)
        for day in months.sessions()[-8:-6].tolist():
            rows = said(day, read("indicators"), read("universe"), read("predictions"), CANDIDATES, WEIGHTS)
            entry = rows.with_columns(
                sector=pl.lit(sector), late=pl.lit(0, pl.Int32), inputs=pl.lit("{}"), day=DAY.label("date")
            )
            dataset = LIVE[0]
            assert not any(breaches(dataset, entry.select(list(dataset.loaded_schema)), months.through).values())
            parts.append(entry)
        own = pl.concat(parts).filter(pl.col("sector") == sector)
        assert_schema(realised(own, read("labels")), dict(REALISED), ["date", "horizon"])
        assert_schema(judged(own, read("labels")), dict(JUDGED), ["model", "horizon", "date"])
    ledger = pl.concat(parts)
    report = daily_report.gather(ledger["date"].max() or months.through, ledger, WEIGHTS.horizon)
    assert daily_report.figures(report)["metric"].n_unique() in (0, 6)
    assert daily_report.render(report).startswith(b"<!doctype html>")


def assert_holds(rare: Rare, months: tuple[str, str], cut: date) -> Stored:
    _, stored = everything(rare)
    assert_contracts(stored, rare.through, stored)
    assert_what_is_told_beside(rare, stored)
    assert_the_months_alone(rare, stored, *months)
    assert_nothing_ahead(rare, stored, cut)
    return stored


@pytest.mark.slow
@given(rare=markets, data=st.data())
@examples(3)
def test_rare_things_at_once(rare: Rare, data: st.DataObject) -> None:
    every = month_range(month_of(DAYS[0]), shift_month(month_of(rare.through), 1))  # of the last no session has closed
    first, last = sorted(data.draw(st.tuples(st.sampled_from(every), st.sampled_from(every))))
    cut = data.draw(st.sampled_from([day for day in LOOKS if day <= rare.through]))
    assert_holds(rare, (first, last), cut)


def assert_it_is_drawn(stored: Stored, through: date, sectors: Iterable[str] = SECTORS[:1]) -> None:
    """Pages and pictures of the last decision, whatever there is to show."""
    months = Months(month_of(DAYS[0]), month_of(through), through)
    as_of = months.decisions[-1]
    for sector in sectors:
        read = Reads(stored, months, sector)
        report = gather(sector, as_of, report_frames(stored, sector), ReportSettings(), 5, (), STATISTICS)
        assert render(report).startswith(b"<!doctype html>")
        assert preview_png(report)
        for name in read("scores").filter(pl.col("as_of") == as_of)["ticker"].head(2):
            frames = (read(each) for each in ("scores", "prices", "predictions", "fundamentals"))
            stock = stock_data.gather(name, sector, as_of, *frames, ScoreSettings())
            assert stock_page.render(stock).startswith(b"<!doctype html>")
        chosen = selection(read("indicators"), read("universe"), [as_of], CANDIDATES)
        assert selection_png({sector: chosen}, {sector: turnover(chosen.candidates, [as_of])})
        for sheet in summaries(read("factor_statistics"), [as_of], FACTOR_MONTHS):
            assert tear_sheet.render(sheet, sector, 5, 1).startswith(b"<!doctype html>")
            best = sheet.rows.filter(pl.col("horizon") == 5, pl.col("ic").is_not_null()).head(3)
            assert best.is_empty() or strongest_png(best, sector)
            assert tear_sheet.strongest(sheet.rows, 5).height <= 12
        at = pl.col("as_of") == as_of
        measured, parts = read("risk").filter(at).drop("as_of", "page_file"), read("risk_breakdown").filter(at)
        if len(measured):
            page = risk_page.render(sector, as_of, measured.rows(named=True), read("var_forecasts"), parts, None)
            assert page.startswith(b"<!doctype html>")
    of_last = pl.col("as_of") == as_of
    sheets, rows = (stored[name].filter(of_last) for name in ("factor_tear_sheet", "market_tear_sheet"))
    assert tear_sheet.render_market(as_of, rows, sheets, 5).startswith(b"<!doctype html>")


# --- Every function of the domain that is given frames meets these markets --------------------------------------------

DOMAIN = ("market", "windows", "signals", "features", "learning", "portfolio", "risk", "backtest", "reporting")

#: Functions that need not, each with the reason.
_COMMANDS = "asked for by a command, not by an asset; its own tests give it frames"
_OF_BARS = "the chain's model reads features; tests of the kinds that read windows of bars give it frames"
_UPDATED = "the chain's model is trained in full; its own tests update models"
_HELD = "the chain's weights have no limit of turnover; its own tests have hundreds of odd books"
EXEMPT: dict[str, str] = {
    "backtest.capacity.by_capital": _COMMANDS,
    "backtest.factor_models.explain": _COMMANDS,
    "backtest.factor_returns.joined": _COMMANDS,
    "backtest.own_factors.own_factors": _COMMANDS,
    "features.macro.macro_features": "the chain's features are chosen without macro; all ready-made ones meet it",
    "features.sentiment.news_features": "the chain's features are chosen without news; all ready-made ones meet it",
    "learning.bars.Bars.between": _OF_BARS,
    "learning.bars.Bars.of": _OF_BARS,
    "learning.comparison.compared": _COMMANDS,
    "learning.ensemble.combined": "the chain has one model; its own tests give it the forecasts of several",
    "learning.ensemble.judged_by": "the chain has one model; its own tests give it the checkpoints of several",
    "learning.gate.against": _COMMANDS,
    "learning.inference.too_few_bars": _COMMANDS,
    "learning.models.transformer.Transformer.compared": _OF_BARS,
    "learning.realised.realised_ics": "the sensor's alone; its own tests have labels that are not known yet, and none",
    "learning.targets.directions": "the chain fits returns; its own tests fit directions",
    "learning.targets.relative": "the chain fits returns as they are; its own tests fit them relative to the sector",
    "learning.transformer.pretraining.pretrained": _OF_BARS,
    "learning.updating.against_updates": _UPDATED,
    "learning.updating.stored_fits": _UPDATED,
    "learning.updating.update_checkpoint": _UPDATED,
    "learning.updating.unseen": _UPDATED,
    "learning.updating.with_comparison": _UPDATED,
    "learning.walk_forward.walk_forward": _COMMANDS,
    "portfolio.book.broken_limits": _HELD,
    "portfolio.turnover.moved_within": _HELD,
    "portfolio.allocation.exposures": "the chain invests whatever the regime; its own tests have every regime and none",
    "market.crypto.sleeve_returns": _COMMANDS,
    "reporting.shap_plot.shap_svg": "of trees alone; its own tests draw missing values and contributions of 0",
}


def holds_frames(annotation: object, depth: int = 0) -> bool:
    """Whether a type is a frame, or a container or class of the package that has one."""
    if isinstance(annotation, str):
        return "DataFrame" in annotation
    if annotation in (pl.DataFrame, pl.Series):
        return True
    if any(holds_frames(each, depth) for each in typing.get_args(annotation)):
        return True
    own = isinstance(annotation, type) and annotation.__module__.startswith("quant_assets.")
    fields = getattr(annotation, "__annotations__", {}) if own and depth < 2 else {}
    return any(holds_frames(each, depth + 1) for each in fields.values())


def given_frames() -> dict[CodeType, str]:
    """Public functions and methods of the domain with a parameter that is or has a frame, and what they are called."""
    found: dict[CodeType, str] = {}
    for package in DOMAIN:
        root = importlib.import_module(f"quant_assets.{package}")
        for info in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
            module = importlib.import_module(info.name)
            for holder in (module, *(each for each in vars(module).values() if inspect.isclass(each))):
                for name, each in vars(holder).items():
                    function = inspect.unwrap(getattr(each, "__func__", each))
                    if (
                        name.startswith("_")
                        or not inspect.isfunction(function)
                        or function.__module__ != module.__name__
                    ):
                        continue
                    if any(
                        holds_frames(annotation)
                        for at, annotation in function.__annotations__.items()
                        if at != "return"
                    ):
                        found[function.__code__] = f"{info.name.removeprefix('quant_assets.')}.{function.__qualname__}"
    return found


def called(work: Callable[[], None]) -> set[CodeType]:
    """Code that runs meanwhile, in whichever thread."""
    seen: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            seen.add(frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return seen


@pytest.mark.slow
def test_one_of_everything_meets_every_function_that_is_given_frames() -> None:
    rare = market(EVERYTHING)

    def work() -> None:
        _, stored = everything(rare)
        assert {*stored, *BY_SQL, "ops_report"} == set(EVERY), "a dataset is not looked at"
        assert {name for name, rows in stored.items() if rows.is_empty()} == set()
        assert_contracts(stored, rare.through, stored)
        assert_what_is_told_beside(rare, stored)
        assert_nothing_ahead(rare, stored, LOOKS[3])
        assert_it_is_drawn(stored, rare.through)

    functions, ran = given_frames(), called(work)
    assert len(functions) > 80
    missed = {name for code, name in functions.items() if code not in ran}
    assert sorted(missed - EXEMPT.keys()) == [], "add it to the chain or to what is told beside, or say why not"
    assert sorted(EXEMPT.keys() - missed) == [], "no longer missed: take it off the list"


@pytest.mark.slow
@pytest.mark.parametrize(
    "lives",
    [(), (Life(),), (Life(last=ENDS[2] + 3, reason="failure"),), (Life(bars=False),)],
    ids=["nobody", "one", "everything lost", "no bars"],
)
def test_a_sector_of_one_name_or_none(lives: tuple[Life, ...]) -> None:
    rare = market(lives)
    stored = assert_holds(rare, ("2020-04", "2020-04"), LOOKS[3])
    assert_it_is_drawn(stored, rare.through)


@pytest.mark.slow
def test_every_ready_made_feature_keeps_its_contract() -> None:
    """The other tests have some features of each kind; these are all."""
    rare, library = market(EVERYTHING), FeatureLibrary({name: ready_made(name) for name in SETS})
    whole = Months(month_of(DAYS[0]), month_of(rare.through), rare.through)
    stored = market_datasets(rare, whole)
    for sector in SECTORS:
        rows = features_of(library, Reads(stored, whole, sector), whole)
        loaded = rows.with_columns(sector=pl.lit(sector), month=MONTH.label("date"))
        assert not any(breaches(library.dataset, loaded, rare.through).values())
        assert rows.equals(rows.sort("ticker", "date"))
        alone = whole._replace(first="2020-03", last="2020-04")
        assert_identical(features_of(library, Reads(stored, alone, sector), alone), alone.own("features", rows))
