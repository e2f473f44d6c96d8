"""Decisions and what came of them: regime, sector weights and backtest, and by month the sectors' total portfolio."""

import dagster as dg
import polars as pl

from quant_assets.assets.declare import (
    ACROSS_SECTORS,
    carried,
    dataset_asset,
    for_each_sector,
    panel_sessions,
    read,
    run_partitions,
    tell,
    walked,
)
from quant_assets.backtest.metrics import performance
from quant_assets.backtest.simulation import lookback_months, simulate
from quant_assets.backtest.track_record import continued
from quant_assets.market.calendar import sessions
from quant_assets.partitions import (
    RunPartitions,
    all_sectors,
    history,
    key,
    lookback,
    month_of,
    month_range,
    month_start,
    months_covering,
    shift_month,
)
from quant_assets.portfolio.allocation import total_portfolio
from quant_assets.portfolio.weights import sector_weights
from quant_assets.profile import Profile
from quant_assets.risk.regimes import lookback_sessions
from quant_assets.risk.regimes import regime_state as judge_regime
from quant_assets.schemas import DATASETS
from quant_assets.trial_log import PORTFOLIO

GROUP = "portfolio"


def portfolio_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the portfolio group."""
    settings = profile.settings
    regime_months = months_covering(lookback_sessions(settings.regime) + 1)
    entry_lag = settings.labels.entry_lag
    holding_months = lookback_months(entry_lag)

    def held_through(run: RunPartitions) -> RunPartitions:
        """The run's months and those whose decisions are still held in them."""
        first = max(shift_month(run.months[0], -holding_months), profile.months.start)
        return RunPartitions(run.sectors, tuple(month_range(first, run.months[-1])))

    def continued_track(run: RunPartitions, backtest: pl.DataFrame, track_record: pl.DataFrame) -> pl.DataFrame:
        decisions = {month_of(as_of): as_of for as_of in profile.decision_sessions(run)}
        return walked(run, track_record, lambda month, before: continued(before, backtest, decisions.get(month)))

    @dataset_asset(
        profile,
        "regime_state",
        group=GROUP,
        kinds=["polars"],
        ins={"prices": read(lookback(regime_months)), "universe": read(lookback(regime_months))},
    )
    def regime_state(context: dg.AssetExecutionContext, prices: pl.LazyFrame, universe: pl.LazyFrame) -> pl.DataFrame:
        run = run_partitions(context)
        days = panel_sessions(profile, run, regime_months)

        def of_sector(sector: str, prices: pl.DataFrame, universe: pl.DataFrame) -> pl.DataFrame:
            return judge_regime(prices, universe, days, profile.decision_sessions(run), settings.regime)

        result = for_each_sector(run, "regime_state", of_sector, prices=prices, universe=universe)
        tell(context, result, "as_of", _regime)
        return result

    @dataset_asset(profile, "weights", group=GROUP, kinds=["polars"])
    def weights(
        context: dg.AssetExecutionContext, candidates: pl.LazyFrame, predictions: pl.LazyFrame, indicators: pl.LazyFrame
    ) -> pl.DataFrame:
        run = run_partitions(context)

        def of_sector(
            sector: str, candidates: pl.DataFrame, predictions: pl.DataFrame, indicators: pl.DataFrame
        ) -> pl.DataFrame:
            return sector_weights(candidates, predictions, indicators, profile.decision_sessions(run), settings.weights)

        result = for_each_sector(
            run, "weights", of_sector, candidates=candidates, predictions=predictions, indicators=indicators
        )
        tell(context, result, "as_of", _held)
        return result

    @dataset_asset(
        profile,
        "backtest",
        group=GROUP,
        kinds=["polars"],
        ins={name: read(lookback(holding_months)) for name in ("weights", "prices", "delistings", "universe")},
    )
    def backtest(
        context: dg.AssetExecutionContext,
        weights: pl.LazyFrame,
        prices: pl.LazyFrame,
        delistings: pl.LazyFrame,
        universe: pl.LazyFrame,
    ) -> pl.DataFrame:
        run = run_partitions(context)
        days = panel_sessions(profile, run, holding_months)

        def of_sector(
            sector: str, weights: pl.DataFrame, prices: pl.DataFrame, delistings: pl.DataFrame, universe: pl.DataFrame
        ) -> pl.DataFrame:
            return simulate(
                weights,
                prices,
                days,
                profile.decision_sessions(held_through(run)),
                run.first_day,
                run.last_day,
                entry_lag=entry_lag,
                cost_bps=settings.backtest.cost_bps,
                delistings=delistings,
                benchmark_members=universe,
            )

        result = for_each_sector(
            run, "backtest", of_sector, weights=weights, prices=prices, delistings=delistings, universe=universe
        )
        for sector in run.sectors:
            of_trial = result.filter(pl.col("sector") == sector)
            profile.trials.note_backtest(sector, of_trial, profile.decision_sessions(run))
        tell(context, result, "date", _month)
        return result

    @dataset_asset(
        profile,
        "track_record",
        group=GROUP,
        kinds=["polars"],
        ins={"backtest": read(), "track_record": carried()},
    )
    def track_record(
        context: dg.AssetExecutionContext, backtest: pl.LazyFrame, track_record: pl.LazyFrame
    ) -> pl.DataFrame:
        run = run_partitions(context)

        def of_sector(sector: str, backtest: pl.DataFrame, track_record: pl.DataFrame) -> pl.DataFrame:
            return continued_track(run, backtest, track_record)

        result = for_each_sector(run, "track_record", of_sector, backtest=backtest, track_record=track_record)
        tell(context, result, "as_of", _to_date)
        return result

    @dataset_asset(
        profile,
        "portfolio_weights",
        group=ACROSS_SECTORS,
        kinds=["polars"],
        ins={"weights": read(all_sectors(), absent="skip"), "regime_state": read(all_sectors(), absent="skip")},
    )
    def portfolio_weights(
        context: dg.AssetExecutionContext, weights: pl.LazyFrame, regime_state: pl.LazyFrame
    ) -> pl.DataFrame:
        run = run_partitions(context)
        result = total_portfolio(
            weights.collect(), regime_state.collect(), profile.decision_sessions(run), settings.portfolio
        )
        tell(
            context,
            result,
            "as_of",
            lambda rows: {
                "sectors_with_weights": ", ".join(rows["sector"].unique().sort()),
                "sectors": rows["sector"].n_unique(),
                **_held(rows),
            },
            by_sector=False,
        )
        return result

    @dataset_asset(
        profile,
        "portfolio_backtest",
        group=ACROSS_SECTORS,
        kinds=["polars"],
        ins={
            "portfolio_weights": read(history(holding_months)),
            **{name: read(all_sectors(holding_months), absent="skip") for name in ("prices", "delistings")},
        },
    )
    def portfolio_backtest(
        context: dg.AssetExecutionContext,
        portfolio_weights: pl.LazyFrame,
        prices: pl.LazyFrame,
        delistings: pl.LazyFrame,
    ) -> pl.DataFrame:
        run = run_partitions(context)
        held: dict[str, set[str]] = {}
        for sector, decided in portfolio_weights.select("sector", "month").unique().collect().iter_rows():
            held.setdefault(sector, set()).update(
                month_range(decided, min(shift_month(decided, holding_months), run.months[-1]))
            )
        keys = [key(sector, month) for sector, months in held.items() for month in months]
        those = pl.any_horizontal(
            pl.lit(False),
            *((pl.col("sector") == sector) & pl.col("month").is_in(sorted(months)) for sector, months in held.items()),
        )

        def bars(name: str, frame: pl.LazyFrame) -> pl.DataFrame:
            profile.store.present(DATASETS[name], keys)  # a sector that is held and has none is an error, not cash
            return frame.filter(those).collect()

        result = simulate(
            portfolio_weights.collect(),
            bars("prices", prices),
            sessions(month_start(shift_month(run.months[0], -holding_months)), profile.through(run)),
            profile.decision_sessions(held_through(run)),
            run.first_day,
            run.last_day,
            entry_lag=entry_lag,
            cost_bps=settings.backtest.cost_bps,
            delistings=bars("delistings", delistings),
        )
        profile.trials.note_backtest(PORTFOLIO, result, profile.decision_sessions(run))
        tell(context, result, "date", _month, by_sector=False)
        return result

    @dataset_asset(
        profile,
        "portfolio_track_record",
        group=ACROSS_SECTORS,
        kinds=["polars"],
        ins={"portfolio_backtest": read(), "portfolio_track_record": carried(by_sector=False)},
    )
    def portfolio_track_record(
        context: dg.AssetExecutionContext, portfolio_backtest: pl.LazyFrame, portfolio_track_record: pl.LazyFrame
    ) -> pl.DataFrame:
        result = continued_track(
            run_partitions(context),
            portfolio_backtest.drop("month").collect(),
            portfolio_track_record.drop("month").collect(),
        )
        tell(context, result, "as_of", _to_date, by_sector=False)
        return result

    return [
        regime_state,
        weights,
        backtest,
        track_record,
        portfolio_weights,
        portfolio_backtest,
        portfolio_track_record,
    ]


def _regime(rows: pl.DataFrame) -> dict[str, float | None]:
    row = rows.row(0, named=True)
    return {"risk_off": int(row["regime"] == "risk_off"), **{name: row[name] for name in ("volatility", "drawdown")}}


def _held(rows: pl.DataFrame) -> dict[str, float | None]:
    return {"names": len(rows), "invested": rows["weight"].sum(), "largest_weight": rows["weight"].max()}  # type: ignore[dict-item]


def _month(rows: pl.DataFrame) -> dict[str, float | None]:
    found = performance(rows)
    names = ("sessions", "total_return", "benchmark_return", "max_drawdown", "turnover", "cost")
    return {f"month_{name.removeprefix('total_')}": found[name] for name in names}


def _to_date(rows: pl.DataFrame) -> dict[str, float | str | None]:
    """With the day from which on they are counted."""
    row = rows.row(0, named=True)
    if row["since"] is None:
        return {}
    names = ("sessions", "total_return", "annualised_volatility", "sharpe", "drawdown", "max_drawdown")
    return {"since": str(row["since"])} | {f"{name.removeprefix('total_')}_to_date": row[name] for name in names}
