"""Content of a report of one sector and month, cut from datasets at its as_of.

Layout is elsewhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from quant_assets.backtest.metrics import drawdowns, since_first_execution
from quant_assets.backtest.trials import Trial, evidence, intervals
from quant_assets.learning.metrics import daily_ic, standard_error
from quant_assets.market.containment import known
from quant_assets.settings.results import ReportSettings, StatisticsSettings
from quant_assets.settings.sectors import SECTORS

#: A date's information coefficient counts once at least this share of its predictions has a known label.
MIN_LABELLED_SHARE = 0.5


@dataclass(frozen=True)
class ReportFrames:
    """Datasets of one sector, each from `history_months` - 1 months before the report's month (or since they exist) on.

    Rows after a report's as_of may exist (in a range run); they are not used.

    Attributes:
        candidates: dataset candidates.
        weights: dataset weights.
        backtest: dataset backtest.
        predictions: dataset predictions, of the model that names are ranked by.
        labels: dataset labels.
        regime_state: dataset regime_state.
        checkpoint: the datasets of checkpoints, from before the checkpoints in use.
        quarantine: dataset quarantine.
        absences: dataset absences.
        coverage: dataset universe_coverage.
        track_record: dataset track_record.
        price_events: dataset price_events.
        versions: `date, model, model_version, horizon` of the forecasts of every model at the months' decisions.

    """

    candidates: pl.DataFrame
    weights: pl.DataFrame
    backtest: pl.DataFrame
    predictions: pl.DataFrame
    labels: pl.DataFrame
    regime_state: pl.DataFrame
    checkpoint: pl.DataFrame
    quarantine: pl.DataFrame
    absences: pl.DataFrame
    coverage: pl.DataFrame
    track_record: pl.DataFrame
    price_events: pl.DataFrame
    versions: pl.DataFrame


@dataclass(frozen=True)
class ReportData:
    """Content of one report.

    Attributes:
        sector: slug.
        as_of: decision session.
        horizon: sessions that the predictions used for ranking look ahead.
        picks: one row for each name held, best first: `rank, ticker, weight, score, score_source, volatility`, the
            candidate's `composite_score, momentum_score, ma_slope_score, volatility_score`, and `prediction,
            prediction_std, prob_up` (null without a model), and `before`, the weight by the decision of the month
            before (null where that did not hold it).
        before: session of that decision; None where it held nothing.
        left: `ticker, before` of sold names, largest first.
        shorts: short candidates, lowest score first; they are not held.
        track: backtest rows from the first execution in the window to as_of, with `growth` and `benchmark_growth`
            (value of 1 invested before the first row), `index_growth` (likewise, null before the index begins) and
            `drawdown`.
        month: backtest rows of as_of's month up to as_of.
        ic: daily rank information coefficients known at as_of: `date, names, rank_ic`.
        regime: row of regime_state at as_of, or None.
        models: `model, model_version, horizon` of the predictions at as_of with `as_of, status, rows, rank_ic` of the
            checkpoint (null where there is none), and whether names are ranked by it, `followed`: that one first, then
            the others by name; each at `horizon`, or at its shortest where it does not forecast that.
        quarantined: bars refused in the month up to as_of, by `reason`: `reason, bars`.
        faults: bars of the history that were refused, or whose price events were repaired or listed, as known at as_of,
            most of them first: `ticker, year, refused, repaired, listed`.
        absent: sessions of members without a bar in the month, by `reason`: `reason, sessions, names`.
        coverage: one row for each session counted, by date: `date`, of the whole index `members`, `without_sector`,
            `with_bar`, and `of_provider` (list of members with a bar, in the order of `providers`), of the sector
            `sector_members` and `sector_with_bar`.
        providers: names of the providers of `coverage`.
        longs: number of long candidates.
        members: members of the sector at as_of, None without candidates.
        eligible: members that passed the filters, None without candidates.
        to_date: the sector's whole track record (row of track_record at as_of), or None before the first execution.
        evidence: statistics of the Sharpe ratio of `track` (`backtest.trials.evidence`), and bounds of `rank_ic`.
        index: symbol of the index or fund of `track`; empty without one.

    """

    sector: str
    as_of: date
    horizon: int
    picks: pl.DataFrame
    before: date | None
    left: pl.DataFrame
    shorts: pl.DataFrame
    track: pl.DataFrame
    month: pl.DataFrame
    ic: pl.DataFrame
    regime: dict[str, object] | None
    models: list[dict[str, object]]
    quarantined: pl.DataFrame
    faults: pl.DataFrame
    absent: pl.DataFrame
    coverage: pl.DataFrame
    providers: list[str]
    longs: int
    members: int | None
    eligible: int | None
    to_date: Mapping[str, Any] | None
    evidence: Mapping[str, float | None]
    index: str = ""

    @property
    def history_months(self) -> int:
        """Calendar months that `track` touches."""
        return _months(self.track["date"][0], self.as_of) if len(self.track) else 0

    @property
    def months_to_date(self) -> int:
        """Calendar months of the whole track record."""
        return 0 if self.to_date is None else _months(self.to_date["since"], self.as_of)

    @property
    def monthly_returns(self) -> list[tuple[date, float]]:
        """Net return of each calendar month of `track`, by the last session of it."""
        ends = self.track.select("date", "growth").filter(
            (pl.col("date").dt.truncate("1mo") != pl.col("date").dt.truncate("1mo").shift(-1)).fill_null(True)
        )
        before = [1.0, *ends["growth"]]
        # No return after a total loss.
        return [
            (day, level / base - 1.0 if base else 0.0)
            for (day, level), base in zip(ends.iter_rows(), before, strict=False)
        ]

    @property
    def sector_name(self) -> str:
        """The sector's name in GICS."""
        return SECTORS[self.sector].name

    @property
    def rank_ic(self) -> float | None:
        """Mean of the daily rank information coefficients; None without one."""
        values = self.ic["rank_ic"].to_list()
        return math.fsum(values) / len(values) if values else None

    @property
    def rank_ic_standard_error(self) -> float | None:
        """Standard error of `rank_ic`, which allows for the overlap of the labels (Newey-West)."""
        return standard_error(
            self.ic["rank_ic"].to_numpy(), self.ic["date"].to_numpy().astype("datetime64[D]"), self.horizon
        )

    @property
    def score_source(self) -> str | None:
        """What the names were ranked by; None where nothing is held."""
        return str(self.picks["score_source"][0]) if len(self.picks) else None


def gather(
    sector: str,
    as_of: date,
    frames: ReportFrames,
    settings: ReportSettings,
    horizon: int,
    trials: Sequence[Trial] = (),
    statistics: StatisticsSettings | None = None,
    index: str = "",
) -> ReportData:
    """Cut the datasets at what was known at as_of, within the last `history_months` months.

    Args:
        sector: slug.
        as_of: decision session.
        frames: datasets of the sector.
        settings: length of the history.
        horizon: horizon of the predictions that names are ranked by.
        trials: of the sector, measured from the first month of the history on; those later than as_of do not count.
        statistics: settings of the figures beside the Sharpe ratio; the defaults where None.
        index: symbol of the index or fund that the backtest is compared with (`backtest.benchmark`).

    """
    statistics = statistics or StatisticsSettings()
    first = _months_before(as_of, settings.history_months - 1)
    start = as_of.replace(day=1)
    in_month = pl.col("date").is_between(start, as_of)
    at = pl.col("as_of") == as_of
    candidates = frames.candidates.filter(at).sort("candidate_type", "selection_rank", "ticker")
    parts = candidates.select("ticker", "composite_score", "momentum_score", "ma_slope_score", "volatility_score")
    predictions = frames.predictions.filter((pl.col("horizon") == horizon) & pl.col("date").is_between(first, as_of))
    forecasts = predictions.filter(pl.col("date") == as_of)
    held = _held_before(frames.weights, as_of)
    picks = (
        frames.weights.filter(at)
        .select("rank", "ticker", "weight", "score", "score_source", "volatility")
        .join(parts, on="ticker", how="left", validate="1:1")
        .join(
            forecasts.select("ticker", "prediction", "prediction_std", "prob_up"),
            on="ticker",
            how="left",
            validate="1:1",
        )
        .join(held.select("ticker", before="weight"), on="ticker", how="left", validate="1:1")
        .sort("rank")
    )
    left = held.join(picks, on="ticker", how="anti").sort(pl.col("weight").abs(), "ticker", descending=[True, False])
    backtest = frames.backtest.filter(pl.col("date").is_between(first, as_of)).sort("date")
    regime = frames.regime_state.filter(at)
    refused = frames.quarantine.filter(pl.col("known_at").is_between(start, as_of))
    absent = (
        frames.absences.filter(at)
        .group_by("reason")
        .agg(pl.col("sessions").sum(), names=pl.col("ticker").n_unique())
        .sort("reason")
    )
    coverage, to_date = frames.coverage.filter(at), frames.track_record.filter(at).drop_nulls("since")
    track, ic = _track(backtest), known_rank_ic(predictions, frames.labels, as_of)
    beside = evidence(track, trials, statistics) | intervals(
        "rank_ic", ic["rank_ic"].to_numpy(), "mean", statistics, overlap=horizon
    )
    return ReportData(
        sector=sector,
        as_of=as_of,
        horizon=horizon,
        picks=picks,
        before=held["as_of"][0] if len(held) else None,
        left=left.select("ticker", before="weight"),
        shorts=candidates.filter(pl.col("candidate_type") == "short"),
        track=track,
        month=backtest.filter(in_month),
        ic=ic,
        regime=regime.row(0, named=True) if len(regime) else None,
        models=_models(frames.versions.filter(pl.col("date") == as_of), forecasts, frames.checkpoint, as_of, horizon),
        quarantined=refused.group_by("reason").agg(bars=pl.len()).sort("reason"),
        faults=_faults(frames, first, as_of),
        absent=absent,
        coverage=_coverage(coverage),
        providers=coverage.filter(pl.col("provider") != "any")["provider"].unique().sort().to_list(),
        longs=candidates.filter(pl.col("candidate_type") == "long").height,
        members=candidates["universe_count"][0] if len(candidates) else None,
        eligible=candidates["eligible_count"][0] if len(candidates) else None,
        to_date=to_date.row(0, named=True) if len(to_date) else None,
        evidence=beside,
        index=index,
    )


def _held_before(weights: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Rows of dataset weights of the decision of the calendar month before."""
    start = as_of.replace(day=1)
    earlier = weights.filter(pl.col("as_of").is_between(_months_before(as_of, 1), start, closed="left"))
    return earlier.filter(pl.col("as_of") == pl.col("as_of").max())


def _faults(frames: ReportFrames, first: date, as_of: date) -> pl.DataFrame:
    """Refused bars and doubted price events by ticker and year, most first; see `ReportData.faults`."""
    events = frames.price_events.filter(pl.col("date") >= first, pl.col("panel_from") <= as_of)
    refused = frames.quarantine.filter(pl.col("known_at").is_between(first, as_of))
    faulty_bars = pl.concat(
        [refused.select("ticker", "date", action=pl.lit("refused")), events.select("ticker", "date", "action")]
    )
    actions = ("refused", "repaired", "listed")
    counted = (
        faulty_bars.filter(pl.col("action").is_in(actions))
        .group_by("ticker", year=pl.col("date").dt.year())
        .agg((pl.col("action") == action).sum().alias(action) for action in actions)
    )
    return counted.sort(-pl.sum_horizontal(actions).cast(pl.Int64), "ticker", "year")


def known_rank_ic(predictions: pl.DataFrame, labels: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Daily rank information coefficient of predictions of one horizon, from the labels known at as_of only.

    Labels that are `unexplained` are left out. A date counts once at least `MIN_LABELLED_SHARE` of its predictions has
    a known label: before that the few known ones are delistings, which are no sample of the sector.

    Args:
        predictions: rows of dataset predictions of one horizon.
        labels: dataset labels.
        as_of: labels with a later `known_at` are left out.

    Returns:
        `date, names, rank_ic`, sorted by date.

    """
    outcomes = known(labels).filter(pl.col("known_at") <= as_of).select("ticker", "date", "horizon", "forward_return")
    joined = predictions.select("ticker", "date", "horizon", "prediction").join(
        outcomes, on=["ticker", "date", "horizon"], how="left"
    )
    share = pl.col("forward_return").is_not_null().sum().over("date") / pl.len().over("date")
    return daily_ic(joined.filter(share >= MIN_LABELLED_SHARE).drop_nulls("forward_return")).select(
        "date", "names", "rank_ic"
    )


def _coverage(coverage: pl.DataFrame) -> pl.DataFrame:
    """The rows of one `as_of` side by side."""
    index = coverage.filter(pl.col("scope") == "index").sort("date", "provider")
    together, single = pl.col("provider") == "any", pl.col("provider") != "any"
    of_sector = coverage.filter((pl.col("scope") == "sector") & together).select(
        "date", sector_members="members", sector_with_bar="with_bar"
    )
    return (
        index.filter(together)
        .select("date", "members", "with_bar", without_sector=pl.col("members") - pl.col("with_sector"))
        .join(index.filter(single).group_by("date").agg(of_provider="with_bar"), on="date", how="left")
        .join(of_sector, on="date", how="left")
        .with_columns(
            pl.col("sector_members", "sector_with_bar").fill_null(0),
            pl.col("of_provider").fill_null(pl.lit([], pl.List(pl.Int32))),  # no provider has any bar
        )
        .sort("date")
    )


def _track(backtest: pl.DataFrame) -> pl.DataFrame:
    """Rows from the first execution on, chained over the months."""
    track = since_first_execution(backtest)
    growth, base, month, equity = [], 1.0, None, 1.0
    for day, value in track.select("date", "equity").iter_rows():
        if (day.year, day.month) != month:
            base, month = base * equity, (day.year, day.month)
        equity = value
        growth.append(base * value)
    level, levels = 1.0, []
    for value in track["benchmark_return"]:
        level *= 1.0 + (value or 0.0)
        levels.append(level)
    index = 1.0 + pl.col("index_return").fill_null(0.0)
    began = pl.col("index_return").is_not_null().cum_max()
    return track.with_columns(
        index_growth=pl.when(began).then(index.cum_prod()),
        growth=pl.Series(growth, dtype=pl.Float64),
        benchmark_growth=pl.Series(levels, dtype=pl.Float64),
        drawdown=pl.Series(drawdowns(track["net_return"].to_list()), dtype=pl.Float64),
    )


def _models(
    versions: pl.DataFrame, forecasts: pl.DataFrame, checkpoint: pl.DataFrame, as_of: date, horizon: int
) -> list[dict[str, object]]:
    """The models that forecast at as_of; see `ReportData.models`."""
    on = ["model", "model_version", "horizon"]
    followed = pl.col("model").is_in(forecasts["model"].unique().implode())
    used = (
        versions.select(*on, followed=followed)
        .sort(~pl.col("followed"), "model", pl.col("horizon") != horizon, "horizon", "model_version")
        .unique("model", keep="first", maintain_order=True)
    )
    rows = checkpoint.filter(pl.col("as_of") < as_of).sort("as_of").unique(on, keep="first", maintain_order=True)
    trained = rows.select(*on, "as_of", "status", "rows", "rank_ic")
    return used.join(trained, on=on, how="left", maintain_order="left").to_dicts()


def _months(first: date, last: date) -> int:
    """Calendar months from one day to another, both included."""
    return (last.year - first.year) * 12 + last.month - first.month + 1


def _months_before(day: date, months: int) -> date:
    """First calendar day of the month `months` before that of `day`."""
    index = day.year * 12 + day.month - 1 - months
    return date(index // 12, index % 12 + 1, 1)
