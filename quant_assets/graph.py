"""`build_defs`: the assets, checks, jobs and resources of a profile. `definitions` calls it at import."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from quant_assets.assets.learning import learning_assets
from quant_assets.assets.live import live_assets, live_checks
from quant_assets.assets.live_orders import live_order_assets
from quant_assets.assets.market import market_assets
from quant_assets.assets.operations import operations_assets
from quant_assets.assets.portfolio import portfolio_assets
from quant_assets.assets.research import research_assets
from quant_assets.assets.risk import risk_assets
from quant_assets.assets.scores import score_assets
from quant_assets.assets.sentiment import sentiment_assets
from quant_assets.assets.signals import signal_assets
from quant_assets.assets.sql import load_models, sql_assets
from quant_assets.assets.trading import trading_assets
from quant_assets.checks import agreement_check, contract_checks, presence_check, same_selection_check
from quant_assets.grains import MONTHLY, SECTOR_MONTHLY, Grain
from quant_assets.io.manager import ParquetIOManager
from quant_assets.model_checks import model_checks
from quant_assets.portfolio_checks import portfolio_checks
from quant_assets.profile import Profile
from quant_assets.provenance.record import PartitionRecorder
from quant_assets.provenance.versions import trial_paths, versions
from quant_assets.runtime import compile_cache
from quant_assets.runtime.executor import in_process_executor
from quant_assets.sentiment_checks import sentiment_checks
from quant_assets.settings.loading import Settings, load_settings
from quant_assets.settings.paths import effective

#: Further assets and checks of a profile, from a layer above.
OnDemand = Callable[[Profile], Sequence[dg.AssetsDefinition]]
Checks = Callable[[Profile], Sequence[dg.AssetChecksDefinition]]


def _nothing(profile: Profile) -> tuple[()]:
    return ()


def build_defs(
    of: Settings | Profile | None = None,
    on_written: Callable[[str, int], None] | None = None,
    *,
    on_demand: OnDemand = _nothing,
    checks: Checks = _nothing,
) -> dg.Definitions:
    """Definitions of a profile.

    Args:
        of: the profile or its settings; by default that of `QUANT_PROFILE`.
        on_written: called with dataset and number of partitions after each write, for progress bars.
        on_demand: returns further assets of a profile, which only run on request.
        checks: returns further checks, of those assets.

    """
    profile = of if isinstance(of, Profile) else Profile(of or load_settings())
    compile_cache.provide(profile.settings.storage_url)
    with warnings.catch_warnings():
        # The partition mappings that we use are beta; the version is pinned.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _definitions(profile, on_written, on_demand, checks)


def _definitions(
    profile: Profile,
    on_written: Callable[[str, int], None] | None,
    on_demand: OnDemand,
    checks: Checks,
) -> dg.Definitions:
    models = load_models(profile.datasets)
    assets = [
        *market_assets(profile),
        *sentiment_assets(profile),
        *signal_assets(profile),
        *learning_assets(profile),
        *score_assets(profile),
        *portfolio_assets(profile),
        *risk_assets(profile),
        *trading_assets(profile),
        *operations_assets(profile),
        *research_assets(profile),
        *sql_assets(profile, models),
        *live_assets(profile),
        *live_order_assets(profile),
        *on_demand(profile),
    ]
    asset_versions, dump = versions(profile.settings, assets), effective(profile.settings)
    profile.trials.paths = trial_paths(
        asset_versions, [name for name, dataset in profile.datasets.items() if not dataset.grain.by_sector]
    )
    matures = {spec.key.path[-1]: spec.metadata["matures_months"] for each in assets for spec in each.specs}
    recorder = PartitionRecorder(profile, asset_versions, matures)
    assets = [
        each.map_asset_specs(
            lambda spec: spec.replace_attributes(code_version=asset_versions[spec.key.path[-1]].describe(dump))
        )
        for each in assets
    ]
    io_manager = ParquetIOManager(
        profile.store, profile.every_dataset, profile.last_session, profile.known_through, recorder, on_written
    )
    return dg.Definitions(
        assets=assets,
        asset_checks=[
            *contract_checks(profile, list(asset_versions), {model.name: model.tests for model in models}),
            presence_check(profile),
            agreement_check(profile),
            same_selection_check(profile),
            *model_checks(profile),
            *portfolio_checks(profile),
            *sentiment_checks(profile),
            *live_checks(profile),
            *checks(profile),
        ],
        jobs=_jobs(profile),
        resources={"parquet": io_manager},
        executor=in_process_executor(),  # runs, one per sector, are the parallelism
    )


def _jobs(profile: Profile) -> list[Any]:
    """`main` from raw bars to the report by sector and month; `total_portfolio` over the sectors by month."""
    grains: dict[Grain, list[str]] = {}
    for name, dataset in profile.datasets.items():
        grains.setdefault(dataset.grain, []).append(name)
    return [
        dg.define_asset_job(
            "main",
            dg.AssetSelection.assets(*grains[SECTOR_MONTHLY]),
            description="Raw bars to weights, backtest and report of a sector and month.",
        ),
        dg.define_asset_job(
            "total_portfolio",
            dg.AssetSelection.assets(*grains[MONTHLY]),
            description="Macro, and the total portfolio over the stored sectors.",
        ),
    ]
