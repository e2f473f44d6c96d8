"""From prices to model inputs by sector and month: indicators, candidates, features, labels."""

import dagster as dg
import polars as pl

from quant_assets.assets.candidate_metadata import describe_selections
from quant_assets.assets.declare import (
    ACROSS_SECTORS,
    dataset_asset,
    for_each_sector,
    panel_sessions,
    read,
    run_partitions,
)
from quant_assets.features.cross_section import market_breadth as compute_market_breadth
from quant_assets.features.cross_section import market_features as compute_market_features
from quant_assets.features.features import features as compute_features
from quant_assets.features.labels import forward_sessions
from quant_assets.features.labels import labels as compute_labels
from quant_assets.partitions import (
    all_sectors,
    forward,
    key,
    lag,
    lookback,
    months_covering,
)
from quant_assets.profile import Profile
from quant_assets.signals.indicators import indicators as compute_indicators
from quant_assets.signals.indicators import lookback_sessions
from quant_assets.signals.selection import Selection, selection

GROUP = "signals"


def signal_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the signals group."""
    settings = profile.settings
    indicator_months = months_covering(lookback_sessions(settings.indicators))
    feature_months = months_covering(profile.features.price_lookback(settings.fundamentals))
    beta_months = months_covering(profile.features.universe_lookback)
    label_months = months_covering(forward_sessions(settings.labels))

    @dataset_asset(
        profile,
        "indicators",
        group=GROUP,
        kinds=["numba"],
        ins={"prices": read(lookback(indicator_months)), "universe": read()},
    )
    def indicators(context: dg.AssetExecutionContext, prices: pl.LazyFrame, universe: pl.LazyFrame) -> pl.DataFrame:
        run = run_partitions(context)
        days = panel_sessions(profile, run, indicator_months)

        def of_sector(sector: str, prices: pl.DataFrame, universe: pl.DataFrame) -> pl.DataFrame:
            made = compute_indicators(prices, universe, sector, settings.indicators, days, run.first_day, run.last_day)
            for month, counts in made.garch.items():
                fits = {f"garch_tickers_{name}": count for name, count in counts._asdict().items()}
                context.add_asset_metadata(fits, partition_key=key(sector, month))
            return made.rows

        return for_each_sector(run, "indicators", of_sector, prices=prices, universe=universe)

    @dataset_asset(profile, "candidates", group=GROUP, kinds=["polars"], ins={"indicators": read(), "universe": read()})
    def candidates(context: dg.AssetExecutionContext, indicators: pl.LazyFrame, universe: pl.LazyFrame) -> pl.DataFrame:
        run = run_partitions(context)
        decisions = profile.decision_sessions(run)
        selections: dict[str, Selection] = {}

        def of_sector(sector: str, indicators: pl.DataFrame, universe: pl.DataFrame) -> pl.DataFrame:
            selections[sector] = selection(indicators, universe, decisions, settings.candidates)
            return selections[sector].candidates

        result = for_each_sector(run, "candidates", of_sector, indicators=indicators, universe=universe)
        describe_selections(context, profile, run, selections)
        return result

    @dataset_asset(
        profile,
        "features",
        group=GROUP,
        kinds=["numba"],
        ins={
            "prices": read(lookback(feature_months)),
            "price_peaks": read(lag(1)),
            "fundamentals": read(lookback(settings.fundamentals.lookback_months)),
            "universe": read(lookback(beta_months)),
        },
    )
    def features(
        context: dg.AssetExecutionContext,
        prices: pl.LazyFrame,
        price_peaks: pl.LazyFrame,
        fundamentals: pl.LazyFrame,
        universe: pl.LazyFrame,
    ) -> pl.DataFrame:
        profile.features.audit_own()
        run = run_partitions(context)
        days = panel_sessions(profile, run, feature_months)

        def of_sector(
            sector: str,
            prices: pl.DataFrame,
            price_peaks: pl.DataFrame,
            fundamentals: pl.DataFrame,
            universe: pl.DataFrame,
        ) -> pl.DataFrame:
            return compute_features(
                prices,
                price_peaks,
                fundamentals,
                universe,
                profile.features,
                settings.fundamentals,
                days,
                run.first_day,
                run.last_day,
            )

        return for_each_sector(
            run,
            "features",
            of_sector,
            prices=prices,
            price_peaks=price_peaks,
            fundamentals=fundamentals,
            universe=universe,
        )

    @dataset_asset(
        profile,
        "labels",
        group=GROUP,
        kinds=["polars"],
        ins={
            "prices": read(forward(label_months), absent="future"),
            "delistings": read(forward(label_months), absent="future"),
            "universe": read(),
        },
    )
    def labels(
        context: dg.AssetExecutionContext, prices: pl.LazyFrame, delistings: pl.LazyFrame, universe: pl.LazyFrame
    ) -> pl.DataFrame:
        run = run_partitions(context)
        days = panel_sessions(profile, run, 0, label_months)

        def of_sector(
            sector: str, prices: pl.DataFrame, delistings: pl.DataFrame, universe: pl.DataFrame
        ) -> pl.DataFrame:
            return compute_labels(
                prices, delistings, universe, settings.labels, days, profile.last_session(), run.first_day, run.last_day
            )

        return for_each_sector(run, "labels", of_sector, prices=prices, delistings=delistings, universe=universe)

    return [indicators, candidates, features, labels, *_market_assets(profile)]


def _market_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """What compares and counts over every sector whose features are there."""
    library, every = profile.features, {"features": read(all_sectors(), absent="skip")}
    assets = []
    if library.market:

        @dataset_asset(profile, "market_features", group=ACROSS_SECTORS, kinds=["numba"], ins=every)
        def market_features(context: dg.AssetExecutionContext, features: pl.LazyFrame) -> pl.DataFrame:
            names = dict.fromkeys(each.inputs[0] for each in library.market)
            return compute_market_features(
                features.select("sector", "ticker", "date", *names).collect(), library.market
            )

        assets.append(market_features)
    if library.breadth:

        @dataset_asset(profile, "market_breadth", group=ACROSS_SECTORS, kinds=["polars"], ins=every)
        def market_breadth(context: dg.AssetExecutionContext, features: pl.LazyFrame) -> pl.DataFrame:
            names = dict.fromkeys(each.inputs[0] for each in library.breadth)
            return compute_market_breadth(features.select("date", *names).collect(), library.breadth)

        assets.append(market_breadth)
    return assets
