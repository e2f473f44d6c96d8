"""Jobs: everything of a sector and month, and the total portfolio of a month."""

from typing import Any

import dagster as dg

from quant_assets.grains import MONTHLY, SECTOR_MONTHLY, Grain
from quant_assets.profile import Profile


def jobs(profile: Profile) -> list[Any]:
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
            description="Macro, and the total portfolio over the sectors that are there.",
        ),
    ]
