"""Decisions and what came of them: regime, sector weights and backtest, and by month the sectors' total portfolio."""

from collections.abc import Mapping

import dagster as dg
import polars as pl

from quant_assets.assets.declare import (
    ACROSS_SECTORS,
    dataset_asset,
    for_each_sector,
    panel_sessions,
    read,
    run_partitions,
)
from quant_assets.backtest.metrics import performance, since_first_execution
from quant_assets.backtest.simulation import lookback_months, simulate
from quant_assets.backtest.trials import evidence
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

    def figures(scope: str, frame: pl.DataFrame, run: RunPartitions) -> Mapping[str, float | None]:
        """Note the trial; return figures of the run's sessions for the web UI.

        They are rounded for reading, with what stands beside a Sharpe ratio. As in the operations report, the cash
        before the first execution is no part of them.
        """
        profile.trials.note_backtest(scope, frame, profile.decision_sessions(run))
        trials = profile.trials.trials(scope, run.months[0], month_of(profile.through(run)))
        track = since_first_execution(frame)
        found = performance(track) | evidence(track, trials, settings.statistics)
        return {name: None if value is None else round(value, 6) for name, value in found.items()}

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

        return for_each_sector(run, "regime_state", of_sector, prices=prices, universe=universe)

    @dataset_asset(profile, "weights", group=GROUP, kinds=["polars"])
    def weights(
        context: dg.AssetExecutionContext, candidates: pl.LazyFrame, predictions: pl.LazyFrame, indicators: pl.LazyFrame
    ) -> pl.DataFrame:
        run = run_partitions(context)

        def of_sector(
            sector: str, candidates: pl.DataFrame, predictions: pl.DataFrame, indicators: pl.DataFrame
        ) -> pl.DataFrame:
            return sector_weights(candidates, predictions, indicators, profile.decision_sessions(run), settings.weights)

        return for_each_sector(
            run, "weights", of_sector, candidates=candidates, predictions=predictions, indicators=indicators
        )

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
        context.add_output_metadata(
            {sector: figures(sector, result.filter(pl.col("sector") == sector), run) for sector in run.sectors}
        )
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
        sectors = weights.select("sector").unique().collect()["sector"].sort().to_list()
        context.add_output_metadata({"sectors_with_weights": ", ".join(sectors) or "none"})
        return total_portfolio(
            weights.collect(), regime_state.collect(), profile.decision_sessions(run), settings.portfolio
        )

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
        context.add_output_metadata({"performance": figures(PORTFOLIO, result, run)})
        return result

    return [regime_state, weights, backtest, portfolio_weights, portfolio_backtest]
