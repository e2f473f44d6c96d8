"""The domain from the providers' answers to the report, wired as the assets wire it, over the markets of
`synthetic_rare`: of a range of months or of one, from rows that are stored."""

import tempfile
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from quant_assets.assets import sql
from quant_assets.backtest.account import account, by_sector
from quant_assets.backtest.factor_summary import market_rows, summaries
from quant_assets.backtest.factors import complete_after, factor_statistics
from quant_assets.backtest.simulation import Simulated, lookback_months, simulate, simulated
from quant_assets.backtest.track_record import continued
from quant_assets.features.cross_section import market_breadth, market_features
from quant_assets.features.features import features
from quant_assets.features.labels import forward_sessions, labels
from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.features.ohlcv import peaks
from quant_assets.grains import MONTH
from quant_assets.learning.checkpoints import newest_checkpoint, used_checkpoints, young_checkpoints
from quant_assets.learning.drift import Applicability, drifted, feature_stability
from quant_assets.learning.forecast import forecast, load_models
from quant_assets.learning.reference import stored_reference
from quant_assets.learning.trained import checkpoint_rows
from quant_assets.learning.training import train_checkpoint
from quant_assets.market import fundamentals, macro
from quant_assets.market.absences import absences
from quant_assets.market.adjustment import adjust
from quant_assets.market.bars import company_bars, sector_bars
from quant_assets.market.calendar import decision_sessions, last_session_to, sessions
from quant_assets.market.crypto import at_sessions
from quant_assets.market.delistings import with_returns
from quant_assets.market.placement import entries, of_tickers, place
from quant_assets.market.sector_return import equal_weight_returns
from quant_assets.market.universe import coverage, coverage_sessions, members, panel_tickers
from quant_assets.partitions import month_end, month_of, month_range, month_start, months_covering, shift_month
from quant_assets.portfolio import score_inputs, sleeves
from quant_assets.portfolio.allocation import total_portfolio
from quant_assets.portfolio.orders import decided_orders, quoted_sessions
from quant_assets.portfolio.score_inputs import inputs, price_lookback
from quant_assets.portfolio.scores import scores
from quant_assets.portfolio.weights import sector_weights
from quant_assets.reporting.report_data import ReportFrames
from quant_assets.risk.breakdown import risk_breakdown
from quant_assets.risk.forecasts import at_decision, var_forecasts, with_backtests
from quant_assets.risk.forecasts import lookback_sessions as risk_sessions
from quant_assets.risk.holdings import held_at
from quant_assets.risk.regimes import fit_sessions, market_regime, regime_state
from quant_assets.risk.regimes import lookback_sessions as regime_sessions
from quant_assets.risk.stress import episode_returns
from quant_assets.schemas import CHECKPOINTS, DATASETS, Dataset
from quant_assets.sentiment.daily import daily
from quant_assets.sentiment.mentions import Names
from quant_assets.settings.domain import (
    BarSettings,
    CandidateSettings,
    DelistingSettings,
    FundamentalSettings,
    GarchSettings,
    IndicatorSettings,
    LabelSettings,
    PredictionSettings,
    SectorWindows,
    TrainingSettings,
)
from quant_assets.settings.model_use import DriftSettings
from quant_assets.settings.results import PortfolioSettings
from quant_assets.settings.risk import Episode, MarkovSettings, RegimeRules, RegimeSettings, RiskSettings
from quant_assets.settings.scoring import ScoreSettings
from quant_assets.settings.sectors import SECTORS as EVERY_SECTOR
from quant_assets.settings.sentiment import SentimentSettings
from quant_assets.settings.trading import BacktestSettings, OrderSettings, SleeveSettings, TurnoverSettings
from quant_assets.settings.weights import WeightSettings
from quant_assets.signals.indicators import dataset as indicator_dataset
from quant_assets.signals.indicators import indicators, lookback_sessions
from quant_assets.signals.selection import selection
from quant_assets.sources.base import NEWS
from quant_assets_tests.learning.ridge import Ridge
from quant_assets_tests.synthetic_rare import LAST, SECTORS, START, Rare

#: Windows so short that five months are a history.
INDICATORS = IndicatorSettings(
    windows=dict.fromkeys(EVERY_SECTOR, SectorWindows(moving_average=4, momentum_lag=3)),
    slope_sessions=2,
    liquidity_sessions=3,
    history_sessions=20,
    garch=GarchSettings(window=100, min_observations=50, distribution="normal"),
)
CANDIDATES = CandidateSettings(min_history_sessions=3, long_fraction=0.4, short_fraction=0.3)
STATEMENTS = FundamentalSettings()
DELISTINGS = DelistingSettings(failure_return=-1.0)  # everything is lost
LABELS = LabelSettings(horizons=(1, 5, 10))  # of folds of these few months every one has labels
WEIGHTS = WeightSettings(model="ridge", top_n=3, horizon=5, max_weight=0.5)
REGIMES = RegimeSettings(
    volatility_sessions=5,
    drawdown_sessions=10,
    rules=RegimeRules(volatility_sessions=5, short_mean=4, long_mean=10),
    markov=MarkovSettings(emissions="student_t", window=40, min_observations=30, cadence_months=2),
)
RISK = RiskSettings(
    window=40,
    min_observations=30,
    paths=1_000,
    history_months=3,
    episodes={"spring": Episode(first=date(2020, 2, 10), last=date(2020, 3, 20))},
)
TRAINING = TrainingSettings(
    cadence_months=1, window_months=6, max_checkpoint_age_months=2, folds=2, embargo_sessions=1, min_rows=50
)
PREDICTIONS = PredictionSettings(min_bucket_rows=5)
APPLIES = Applicability(max_dissimilarity=1.0, expires_after_months=1)
SLEEVES = SleeveSettings(volatility_sessions=10, threshold=0.02)
PORTFOLIO = PortfolioSettings(allocation="inverse_volatility")
LEARNER = Ridge("ridge")
MIN_NAMES, FACTOR_MONTHS, COST_BPS = 3, 3, 10.0
#: A book that is carried, beside the backtest in closed form.
CARRIED = BacktestSettings(
    costs="itemised", rebalancing="week", participation=0.1, turnover=TurnoverSettings(limited=True, annual=5.0)
)

#: A feature of each kind, and those that are compared within the sector and the market.
CHOSEN = (
    "close_to_peak",
    "volume_mean_5_to_peak",
    "return_1",
    "return_20",
    "beta_120",
    "sma_distance_50",
    "amihud_20",
    "volume_ratio_5_60",
    "overnight_variance_share_20",
    "earnings_yield",
    "book_to_market",
    "net_margin",
    "earnings_growth",
    "statement_age_days",
)


def _library() -> FeatureLibrary:
    """The chosen features with what they read, and those of them that the set `cross_section` compares."""
    core = ready_made("core")
    wanted, before = set(CHOSEN), 0
    while len(wanted) > before:
        before = len(wanted)
        wanted |= {name for each in core if each.name in wanted for name in each.inputs}
    compared = [each for each in ready_made("cross_section") if each.inputs[0] in CHOSEN]
    return FeatureLibrary({"core": [each for each in core if each.name in wanted], "cross_section": compared})


LIBRARY = _library()
EVERY: dict[str, Dataset] = DATASETS | {
    each.name: each for each in (indicator_dataset(INDICATORS), LIBRARY.dataset, *LIBRARY.market_datasets)
}
FIRST_MONTH = month_of(START)


class Stored(dict[str, pl.DataFrame]):
    """Rows of datasets by name, with `sector` at sector grain, and the files of trained models."""

    def __init__(self, rows: Mapping[str, pl.DataFrame] | None = None) -> None:
        super().__init__(rows or {})
        self.files: dict[str, bytes] = {}


class Months(NamedTuple):
    """A run over some months of a market, as `asset_functions.Run` is one."""

    first: str
    last: str
    last_session: date

    @property
    def first_day(self) -> date:
        return month_start(self.first)

    @property
    def last_day(self) -> date:
        return month_end(self.last)

    @property
    def through(self) -> date:
        return min(last_session_to(self.last_day), self.last_session)

    @property
    def decisions(self) -> list[date]:
        return decision_sessions(self.first_day, self.through)

    def sessions(self, before: int = 0, after: int = 0) -> np.ndarray:
        first, last = month_start(shift_month(self.first, -before)), month_end(shift_month(self.last, after))
        return sessions(first, min(last, self.last_session))

    def held(self, before: int) -> list[date]:
        first = max(shift_month(self.first, -before), FIRST_MONTH)
        return decision_sessions(month_start(first), self.through)

    def own(self, name: str, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of the months' own partitions."""
        return rows.filter(pl.col(EVERY[name].dated_by).is_between(self.first_day, self.last_day))


class Reads(NamedTuple):
    """What is stored of one sector (None: of all, with `sector`), read by months around those of a run."""

    stored: Stored
    months: Months
    sector: str | None

    def __call__(self, name: str, before: int = 0, after: int = 0) -> pl.DataFrame:
        first, last = shift_month(self.months.first, -before), shift_month(self.months.last, after)
        day = pl.col(EVERY[name].dated_by)
        rows = self.stored[name].filter(day.is_between(month_start(first), month_end(last)))
        if self.sector is None:
            return rows
        return rows.filter(pl.col("sector") == self.sector).drop("sector")


def market_datasets(rare: Rare, months: Months) -> Stored:
    """The datasets that come from the providers, as they answered at the end of the months."""
    asked = rare.known(months.through)
    days, decisions = sessions(START, months.through), months.decisions
    found: dict[str, list[pl.DataFrame]] = {}
    for sector in SECTORS:
        tickers = panel_tickers(asked.snapshots, sector, months.through)
        given = of_tickers(asked.bars, tickers)
        gone = asked.delistings.filter(pl.col("ticker").is_in(tickers))
        panel = sector_bars(company_bars(given, gone, days, BarSettings()), asked.snapshots, sector, days)
        heard = place(gone, asked.snapshots, sector, days, "known_at").filter(
            pl.col("panel_from") == pl.col("known_at")
        )
        heard = heard.filter(pl.col("known_at").is_between(months.first_day, months.last_day)).select(gone.columns)
        there = members(asked.membership, asked.snapshots, sector, months.sessions())
        moved_in = entries(asked.snapshots, sector, days)
        statements = asked.statements.filter(pl.col("ticker").is_in(tickers))
        of_sector = {
            **panel._asdict(),
            "universe": there,
            "sentiment": _sentiment(there, days),
            "price_peaks": peaks(adjust(panel.ohlcv), days, decisions),
            "absences": absences(there, panel.ohlcv, given, panel.quarantine, gone, moved_in, decisions),
            "delistings": with_returns(heard, panel.ohlcv, DELISTINGS),
            "prices": adjust(panel.ohlcv),
            "fundamentals": fundamentals.as_known(statements, asked.snapshots, sector, STATEMENTS, days),
        }
        for name, rows in of_sector.items():
            found.setdefault(name, []).append(months.own(name, rows).with_columns(sector=pl.lit(sector)))
    stored = Stored({name: pl.concat(parts) for name, parts in found.items()})
    held = asked.held(coverage_sessions(days, decisions))
    stored["universe_coverage"] = coverage(asked.membership, asked.snapshots, held, SECTORS, days, decisions)
    stored["macro"] = months.own("macro", macro.as_known(asked.macro, days))
    stored["crypto"] = months.own("crypto", at_sessions(_coins(months.through), days).rename({"value": "close"}))
    return stored


def _coins(last: date) -> pl.DataFrame:
    """Closes of a coin that has every day, and of one that begins late and lacks a fortnight."""
    rows = pl.DataFrame({"date": pl.date_range(START, last - timedelta(days=1), "1d", eager=True)}).with_row_index("n")
    close = 100.0 + pl.col("n").hash(3) % 50
    late = rows.filter(pl.col("n") >= 40, ~pl.col("n").is_between(60, 74))
    parts = [(rows, "BTC-USD"), (late, "ETH-USD")]
    return pl.concat([part.select(ticker=pl.lit(name), date="date", close=close) for part, name in parts])


def _sentiment(there: pl.DataFrame, days: np.ndarray) -> pl.DataFrame:
    """Dataset sentiment of a story a session of each member, all of the same score."""
    known = pl.col("date").dt.combine(time(15)).dt.replace_time_zone("UTC")
    name, nothing = pl.concat_str("ticker", pl.col("date").cast(pl.String)), pl.lit(None, pl.String)
    given = {"item": name, "published": known, "known_at": known, "title": name}
    news = there.select("ticker", **given, text=nothing, publisher=nothing, provider=nothing).select(list(NEWS))
    scores = lambda texts: np.tile([0.2, 0.3, 0.5], (len(texts), 1))  # noqa: E731
    rows = daily(news, Names({}), days, days[0].item(), SentimentSettings(), scores, date(1990, 1, 1)).rows
    return rows.with_columns(scorer=pl.lit("made"), trained_through=pl.lit(date(1990, 1, 1)))


Compute = Callable[[Reads, Months, str], pl.DataFrame]


def _indicators(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    before = months_covering(lookback_sessions(INDICATORS))
    made = indicators(
        read("prices", before),
        read("universe"),
        sector,
        INDICATORS,
        months.sessions(before),
        months.first_day,
        months.last_day,
    )
    return made.rows


def _candidates(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    return selection(read("indicators"), read("universe"), months.decisions, CANDIDATES).candidates


def features_of(library: FeatureLibrary, read: Reads, months: Months) -> pl.DataFrame:
    """Dataset features with any features."""
    before = months_covering(library.price_lookback(STATEMENTS))
    carried = read("price_peaks", 1).filter(pl.col("as_of") < month_start(months.last))
    return features(
        read("prices", before),
        carried,
        read("fundamentals", STATEMENTS.lookback_months),
        read("universe", months_covering(library.universe_lookback)),
        library,
        STATEMENTS,
        months.sessions(before),
        months.first_day,
        months.last_day,
        read("sentiment", months_covering(library.news_lookback)) if library.news else None,
    )


def _features(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    return features_of(LIBRARY, read, months)


def _labels(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    after = months_covering(forward_sessions(LABELS))
    return labels(
        read("prices", 0, after),
        read("delistings", 0, after),
        read("universe"),
        LABELS,
        months.sessions(0, after),
        months.last_session,
        months.first_day,
        months.last_day,
    )


def _regime_months() -> int:
    fitted = REGIMES.markov.cadence_months - 1 + months_covering(fit_sessions(REGIMES))
    return max(months_covering(regime_sessions(REGIMES) + 1), fitted)


def _regime_state(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    before = _regime_months()
    days = months.sessions(before)
    return regime_state(read("prices", before), read("universe", before), days, months.decisions, REGIMES)


#: Months before a decision that its risk reads, and an episode.
RISK_MONTHS, EPISODE_MONTHS = months_covering(risk_sessions(RISK) + 1), RISK.episode_months + 1


def _episode_returns(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    prices, universe = (read(name, EPISODE_MONTHS) for name in ("prices", "universe"))
    days = months.sessions(EPISODE_MONTHS)
    return episode_returns(prices, universe, days, RISK.episodes, months.first_day, months.last_day)


def _held_in(months: Months) -> list[tuple[date, date, date]]:
    found = []
    for month in month_range(months.first, months.last):
        before, own = shift_month(month, -1), [day for day in months.sessions().tolist() if month_of(day) == month]
        decided = decision_sessions(month_start(before), month_end(before))
        found += [(decided[-1], own[0], own[-1])] if own else []
    return found


def _forecasts(read: Reads, months: Months, name: str) -> pl.DataFrame:
    before, days = RISK_MONTHS + 1, months.sessions(RISK_MONTHS + 1)
    return var_forecasts(read(name, 1), read("prices", before), days, _held_in(months), RISK)


def _breakdown(read: Reads, months: Months, name: str) -> pl.DataFrame:
    prices, universe, days = read("prices", RISK_MONTHS), read("universe", RISK_MONTHS), months.sessions(RISK_MONTHS)
    own = prices.filter("in_sector") if "sector" in prices.columns else prices
    market = equal_weight_returns(own, universe, days)
    episodes = read("episode_returns", 12) if read.sector else read("risk_breakdown")
    return risk_breakdown(read(name), prices, market, read("indicators"), episodes, days, months.decisions, RISK)


def _risk(read: Reads, months: Months, name: str, told: str) -> pl.DataFrame:
    rows, days = [], months.sessions(RISK_MONTHS)
    forecasts = read(told, RISK.history_months - 1)
    for as_of, held in held_at(read(name), read("prices", RISK_MONTHS), days, months.decisions, RISK):
        first = month_start(shift_month(month_of(as_of), 1 - RISK.history_months))
        so_far = forecasts.filter(pl.col("date").is_between(first, as_of))
        found = with_backtests(at_decision(held, RISK, month_of(as_of)), so_far)
        rows += [{"as_of": as_of, **row, "page_file": "page"} for row in found]
    return pl.DataFrame(rows, schema=DATASETS["risk"].schema)


def _scores(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    before = months_covering(price_lookback(STATEMENTS))
    known = inputs(
        read("prices", before),
        read("fundamentals", STATEMENTS.lookback_months),
        read("universe", months_covering(score_inputs.LIBRARY.universe_lookback)),
        read("predictions"),
        STATEMENTS,
        months.sessions(before),
        months.decisions,
        months.first_day,
        months.last_day,
    )
    return scores(known, ScoreSettings(), sector)


def _weights(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    return sector_weights(read("candidates"), read("predictions"), read("indicators"), months.decisions, WEIGHTS)


def _backtest(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    before = lookback_months(LABELS.entry_lag)
    return simulate(
        read("weights", before),
        read("prices", before),
        months.sessions(before),
        months.held(before),
        months.first_day,
        months.last_day,
        entry_lag=LABELS.entry_lag,
        settings=BacktestSettings(cost_bps=COST_BPS),
        delistings=read("delistings", before),
        benchmark_members=read("universe", before),
    )


def _carried(read: Reads, months: Months) -> Simulated:
    """The book that is carried, of which trades, positions and orders are."""
    before = lookback_months(LABELS.entry_lag, CARRIED)
    return simulated(
        read("weights", before),
        read("prices", before),
        months.sessions(before),
        months.held(before),
        months.first_day,
        months.last_day,
        entry_lag=LABELS.entry_lag,
        settings=CARRIED,
        delistings=read("delistings", before),
        benchmark_members=read("universe", before),
    )


def _account(name: str) -> "Compute":
    def rows(read: Reads, months: Months, sector: str) -> pl.DataFrame:
        before = lookback_months(LABELS.entry_lag, CARRIED)
        found = _carried(read, months)
        prices, indicators = read("prices", before), read("indicators", 1)
        return account(found, prices, indicators, months.decisions, months.first_day, CARRIED)[name]

    return rows


def _orders(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    before, settings = months_covering(quoted_sessions(CARRIED)), OrderSettings(lot_size=10)
    parts, backtest = [DATASETS["orders"].empty().drop("sector")], _carried(read, months).frame
    for as_of in months.decisions:
        rows = decided_orders(
            read("weights"),
            read("positions"),
            backtest,
            read("prices", before),
            months.sessions(before),
            as_of,
            settings.capital,
            settings,
            CARRIED,
        )
        parts.append(rows.with_columns(as_of=pl.lit(as_of)).select(parts[0].columns))
    return pl.concat(parts)


def _portfolio_attribution(read: Reads, months: Months) -> pl.DataFrame:
    before = lookback_months(LABELS.entry_lag)
    found = simulated(
        read("portfolio_weights", before),
        read("prices", before),
        months.sessions(before),
        months.held(before),
        months.first_day,
        months.last_day,
        entry_lag=LABELS.entry_lag,
        settings=BacktestSettings(cost_bps=COST_BPS),
        delistings=read("delistings", before),
    )
    return by_sector(found.outcome.gains, read("portfolio_weights", before), read("backtest"), months.decisions)


def _sleeves(read: Reads, months: Months) -> pl.DataFrame:
    """Shares of the sleeves, carried from the month before, which is stored."""
    before, name = months_covering(sleeves.lookback_sessions(SLEEVES) + 1), "sleeve_allocation"
    stored = read(name, 1) if name in read.stored else DATASETS[name].empty()
    parts = [stored.filter(pl.col("as_of") < months.first_day)]
    inputs = read("portfolio_backtest", before), read("crypto", before), read("market_regime")
    for as_of in months.decisions:
        days = months.sessions(before)
        parts.append(sleeves.sleeve_allocation(parts[-1], *inputs, days, as_of, SLEEVES))
    return pl.concat(parts[1:])


def _walked(name: str, backtest: pl.DataFrame, read: Reads, months: Months) -> pl.DataFrame:
    """A track record, carried from the month before, which is stored."""
    columns = list(DATASETS[name].schema)
    before = read(name, 1).filter(pl.col("as_of") < months.first_day) if name in read.stored else None
    parts = [DATASETS[name].empty().select(columns) if before is None else before.select(columns)]
    decisions = {month_of(as_of): as_of for as_of in months.decisions}
    for month in month_range(months.first, months.last):
        parts.append(continued(parts[-1], backtest, decisions.get(month)))
    return pl.concat(parts[1:])


def _track_record(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    return _walked("track_record", read("backtest"), read, months)


def _factor_statistics(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    before = months_covering(complete_after(max(LABELS.horizons), LABELS.entry_lag))
    return factor_statistics(
        read("features", before),
        LIBRARY.names,
        read("indicators", before),
        read("predictions", before),
        read("labels", before),
        months.sessions(before),
        months.first_day,
        months.decisions,
        LABELS,
        CANDIDATES,
        MIN_NAMES,
    )


def _factor_tear_sheet(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    sheets = summaries(read("factor_statistics", FACTOR_MONTHS - 1), months.decisions, FACTOR_MONTHS)
    rows = [pl.DataFrame(schema=DATASETS["factor_tear_sheet"].schema)]
    return pl.concat([*rows, *(sheet.rows.with_columns(page_file=pl.lit("page")) for sheet in sheets)])


def _checkpoints(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    """A training at each decision; its files are kept beside what is stored."""
    parts, before = [pl.DataFrame(schema=CHECKPOINTS.schema)], TRAINING.window_months
    for as_of in months.decisions:
        history = Reads(read.stored, Months(month_of(as_of), month_of(as_of), months.last_session), sector)
        with tempfile.TemporaryDirectory() as folder:
            trained = train_checkpoint(
                history("features", before),
                history("labels", before),
                as_of,
                TRAINING,
                PREDICTIONS,
                LEARNER,
                LABELS.horizons,
                sector,
                LIBRARY.names,
                Path(folder),
            )
            for item in trained:
                if item.files and item.manifest:
                    read.stored.files |= {
                        f"{sector}/{name}": path.read_bytes() for name, path in item.files.paths.items()
                    }
                    read.stored.files[f"{sector}/{item.manifest_name}"] = item.manifest
            parts.append(checkpoint_rows(trained, sector))
    return pl.concat(parts)


def _predictions(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    parts = [pl.DataFrame(schema=DATASETS["predictions"].schema)]
    checkpoints = read(CHECKPOINTS.name, TRAINING.max_checkpoint_age_months)
    for month in month_range(months.first, months.last):
        rows = read("features").filter(pl.col("date").is_between(month_start(month), month_end(month)))
        chosen = newest_checkpoint(checkpoints, month_start(month), TRAINING, START, sector)
        if chosen is not None and len(rows):
            with tempfile.TemporaryDirectory() as folder:
                kept = chosen.iter_rows(named=True), LEARNER, LIBRARY.names, read.stored.files.__getitem__
                parts.append(forecast(rows, load_models(*kept, Path(folder)), PREDICTIONS, APPLIES))
    return pl.concat(parts)


def _feature_drift(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    schema = DATASETS["feature_drift"].schema
    parts = [pl.DataFrame(schema=schema)]
    checkpoints = read(CHECKPOINTS.name, TRAINING.max_checkpoint_age_months)
    for as_of in months.decisions:
        of_month = pl.col("date").is_between(month_start(month_of(as_of)), as_of)
        rows, forecasts = (read(name).filter(of_month) for name in ("features", "predictions"))
        used = used_checkpoints(young_checkpoints(checkpoints, as_of, TRAINING), forecasts)
        files = read.stored.files.__getitem__
        references = {row["model"]: stored_reference(row, files) for row in used.iter_rows(named=True)}
        moved = feature_stability(rows, references)
        told = used.select("model", checkpoint="as_of", as_of=pl.lit(as_of))
        parts.append(moved.join(told, on="model").select(list(schema)))
        drifted(moved, forecasts, DriftSettings())
    return pl.concat(parts)


#: By sector, in the order in which they read each other.
BY_SECTOR: dict[str, Compute] = {
    "indicators": _indicators,
    "candidates": _candidates,
    "features": _features,
    "labels": _labels,
    "regime_state": _regime_state,
    CHECKPOINTS.name: _checkpoints,
    "predictions": _predictions,
    "feature_drift": _feature_drift,
    "scores": _scores,
    "weights": _weights,
    "backtest": _backtest,
    "track_record": _track_record,
    "episode_returns": _episode_returns,
    "var_forecasts": lambda read, months, sector: _forecasts(read, months, "weights"),
    "risk_breakdown": lambda read, months, sector: _breakdown(read, months, "weights"),
    "risk": lambda read, months, sector: _risk(read, months, "weights", "var_forecasts"),
    **{name: _account(name) for name in ("trades", "positions", "backtest_costs", "attribution", "turnover")},
    "orders": _orders,
    "factor_statistics": _factor_statistics,
    "factor_tear_sheet": _factor_tear_sheet,
}


def _portfolio_backtest(read: Reads, months: Months) -> pl.DataFrame:
    before = lookback_months(LABELS.entry_lag)
    return simulate(
        read("portfolio_weights", before),
        read("prices", before),
        months.sessions(before),
        months.held(before),
        months.first_day,
        months.last_day,
        entry_lag=LABELS.entry_lag,
        settings=BacktestSettings(cost_bps=COST_BPS),
        delistings=read("delistings", before),
    )


#: Over all sectors.
BY_MONTH: dict[str, Callable[[Reads, Months], pl.DataFrame]] = {
    "market_features": lambda read, months: market_features(read("features"), LIBRARY.market),
    "market_breadth": lambda read, months: market_breadth(read("features"), LIBRARY.breadth),
    "market_regime": lambda read, months: market_regime(
        read("prices", _regime_months()),
        read("universe", _regime_months()),
        months.sessions(_regime_months()),
        months.decisions,
        REGIMES,
    ),
    "portfolio_weights": lambda read, months: total_portfolio(
        read("weights"), read("regime_state"), months.decisions, PORTFOLIO
    ),
    "portfolio_backtest": _portfolio_backtest,
    "portfolio_attribution": _portfolio_attribution,
    "sleeve_allocation": _sleeves,
    "portfolio_track_record": lambda read, months: _walked(
        "portfolio_track_record", read("portfolio_backtest"), read, months
    ),
    "portfolio_var_forecasts": lambda read, months: _forecasts(read, months, "portfolio_weights"),
    "portfolio_risk_breakdown": lambda read, months: _breakdown(read, months, "portfolio_weights"),
    "portfolio_risk": lambda read, months: _risk(read, months, "portfolio_weights", "portfolio_var_forecasts"),
    "market_tear_sheet": lambda read, months: market_rows(read("factor_tear_sheet")).with_columns(
        page_file=pl.lit("page")
    ),
}


#: Over all sectors in SQL; what a model reads is the same partitions.
BY_SQL = {model.name: model for model in sql.load_models(EVERY)}
_SETTINGS = {f"candidates.{name}": value for name, value in CANDIDATES.model_dump().items()}


def _by_sql(read: Reads, months: Months, name: str) -> pl.DataFrame:
    model = BY_SQL[name]
    frames = {each: read(each).with_columns(month=MONTH.label(EVERY[each].dated_by)) for each in model.reads}
    parameters = sql.parameter_values(model, _SETTINGS, months.decisions)
    return sql.execute(model, parameters, **frames).cast(dict(EVERY[name].empty().schema))


def computed(stored: Stored, months: Months, name: str) -> pl.DataFrame:
    """Rows of a dataset's partitions in these months, with `sector` at sector grain, from what is stored."""
    if name in BY_SQL:
        return _by_sql(Reads(stored, months, None), months, name)
    if name in BY_MONTH:
        return BY_MONTH[name](Reads(stored, months, None), months)
    parts = [
        BY_SECTOR[name](Reads(stored, months, sector), months, sector).with_columns(sector=pl.lit(sector))
        for sector in SECTORS
    ]
    return pl.concat(parts)


def report_frames(stored: Stored, sector: str) -> ReportFrames:
    """What a sector's report is made of."""
    read = Reads(stored, Months(FIRST_MONTH, "2020-12", LAST), sector)
    return ReportFrames(
        candidates=read("candidates"),
        weights=read("weights"),
        backtest=read("backtest"),
        predictions=read("predictions").filter(pl.col("horizon") == WEIGHTS.horizon),
        labels=read("labels").filter(pl.col("horizon") == WEIGHTS.horizon),
        regime_state=read("regime_state"),
        checkpoint=read(CHECKPOINTS.name),
        quarantine=read("quarantine"),
        absences=read("absences"),
        coverage=read("universe_coverage"),
        track_record=read("track_record"),
        price_events=read("price_events"),
    )


#: What is computed from other datasets, in the order in which they read each other.
DERIVED = (*BY_SECTOR, *BY_MONTH)


def everything(rare: Rare) -> tuple[Months, Stored]:
    """Every dataset, of all months in one run."""
    months = Months(FIRST_MONTH, month_of(rare.through), rare.through)
    stored = market_datasets(rare, months)
    for name in DERIVED:
        stored[name] = computed(stored, months, name)
    return months, stored
