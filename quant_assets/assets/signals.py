"""From prices to model inputs by sector and month: indicators, candidates, features, labels."""

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run
from quant_assets.assets.candidate_metadata import described
from quant_assets.assets.declare import Asset, declared, read
from quant_assets.assets.unexplained import tell_marked
from quant_assets.features.cross_section import market_breadth as compute_market_breadth
from quant_assets.features.cross_section import market_features as compute_market_features
from quant_assets.features.features import features as compute_features
from quant_assets.features.labels import forward_sessions
from quant_assets.features.labels import labels as compute_labels
from quant_assets.features.library import FeatureLibrary
from quant_assets.partitions import all_sectors, forward, lag, lookback, market, months_covering
from quant_assets.profile import Profile
from quant_assets.settings.domain import CandidateSettings, FundamentalSettings, IndicatorSettings, LabelSettings
from quant_assets.signals.indicators import indicators as compute_indicators
from quant_assets.signals.indicators import lookback_sessions
from quant_assets.signals.selection import Selection, selection


def signal_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the signals group, and the market features and breadth over all stored sectors."""
    settings, library = profile.settings, profile.features
    indicator_months = months_covering(lookback_sessions(settings.indicators))
    feature_months = months_covering(library.price_lookback(settings.fundamentals))
    beta_months = months_covering(library.universe_lookback)
    label_months = months_covering(forward_sessions(settings.labels))
    later = read(forward(label_months), absent="future")
    every = {"features": read(all_sectors(), absent="skip")}
    of_features = {
        "prices": read(lookback(feature_months)),
        "price_peaks": read(lag(1)),
        "fundamentals": read(lookback(settings.fundamentals.lookback_months)),
        "universe": read(lookback(beta_months)),
    }
    if library.news:
        of_features["sentiment"] = read(lookback(months_covering(library.news_lookback)))
    if library.economy:
        of_features["macro"] = read(market(months_covering(library.macro_lookback)))
    of_market = []
    if library.market:
        of_market.append(Asset("market_features", market_features, every, kinds=["numba"], sized_by="features"))
    if library.breadth:
        of_market.append(Asset("market_breadth", market_breadth, every, sized_by="features"))
    return declared(
        profile,
        "signals",
        Asset(
            "indicators",
            indicators,
            {"prices": read(lookback(indicator_months)), "universe": read()},
            kinds=["numba"],
            sized_by="universe",
        ),
        Asset("candidates", candidates, {"indicators": read(), "universe": read()}),
        Asset("features", features, of_features, kinds=["numba"], sized_by="universe"),
        Asset(
            "labels",
            labels,
            {"prices": later, "delistings": later, "universe": read()},
            sized_by="universe",
            times=len(settings.labels.horizons),
        ),
        *of_market,
    )


def indicators(
    run: Run, sector: str, settings: IndicatorSettings, prices: pl.DataFrame, universe: pl.DataFrame
) -> pl.DataFrame:
    """Indicators of each member and session."""
    days = run.sessions("prices")
    made = compute_indicators(prices, universe, sector, settings, days, run.first_day, run.last_day)
    for month, counts in made.garch.items():
        run.tell(sector, month, {f"garch_tickers_{name}": count for name, count in counts._asdict().items()})
    tell_marked(run, sector, prices, universe)
    return made.rows


def candidates(run: Run, settings: CandidateSettings, indicators: pl.LazyFrame, universe: pl.LazyFrame) -> pl.DataFrame:
    """Long and short candidates of each decision."""
    selections: dict[str, Selection] = {}

    def of_sector(sector: str, indicators: pl.DataFrame, universe: pl.DataFrame) -> pl.DataFrame:
        selections[sector] = selection(indicators, universe, run.decisions, settings)
        return selections[sector].candidates

    result = run.by_sector(of_sector, indicators=indicators, universe=universe)
    run.tell_each(described(run, selections))
    return result


def features(
    run: Run,
    sector: str,
    library: FeatureLibrary,
    settings: FundamentalSettings,
    prices: pl.DataFrame,
    price_peaks: pl.DataFrame,
    fundamentals: pl.DataFrame,
    universe: pl.DataFrame,
    sentiment: pl.DataFrame | None,
    macro: pl.DataFrame | None,
) -> pl.DataFrame:
    """Model inputs of each member and session; sentiment and macro where features of them are declared."""
    library.audit_own()
    tell_marked(run, sector, prices, universe)
    beside = [name for name, rows in (("sentiment", sentiment), ("macro", macro)) if rows is not None]
    days = max((run.sessions(name) for name in ("prices", *beside)), key=len)
    first, last = run.first_day, run.last_day
    return compute_features(
        prices, price_peaks, fundamentals, universe, library, settings, days, first, last, sentiment, macro
    )


def labels(
    run: Run,
    sector: str,
    settings: LabelSettings,
    prices: pl.DataFrame,
    delistings: pl.DataFrame,
    universe: pl.DataFrame,
) -> pl.DataFrame:
    """Forward returns with the session at which they were known."""
    days = run.sessions("prices")
    made = compute_labels(prices, delistings, universe, settings, days, run.last_session, run.first_day, run.last_day)
    # A count of the run: a later run has more labels of the month.
    run.tell_rows(
        made.with_columns(sector=pl.lit(sector)),
        "date",
        lambda rows: {"unexplained_labels_of_run": int(rows["unexplained"].sum())},
    )
    return made


def market_features(library: FeatureLibrary, features: pl.LazyFrame) -> pl.DataFrame:
    """Features relative to the whole market."""
    names = dict.fromkeys(each.inputs[0] for each in library.market)
    return compute_market_features(features.select("sector", "ticker", "date", *names).collect(), library.market)


def market_breadth(library: FeatureLibrary, features: pl.LazyFrame) -> pl.DataFrame:
    """Number of members that rise, trend or are at an extreme."""
    names = dict.fromkeys(each.inputs[0] for each in library.breadth)
    return compute_market_breadth(features.select("date", *names).collect(), library.breadth)
