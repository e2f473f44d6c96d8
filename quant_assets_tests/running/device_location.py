"""A code location of trainings that hold devices until they are told to end, for the proof of the lease. No tests.

The steps, their pool, launcher, lease and processes are the real ones; what a trainer computes is to write down what it
holds.
"""

import os
import time
from pathlib import Path

import dagster as dg

from quant_assets.partitions import parse_key
from quant_assets.runtime.devices import POOL
from quant_assets.runtime.executor import in_process_executor
from quant_assets.runtime.launch import Unit, launcher, unit_folders
from quant_assets.settings.loading import LaunchSettings
from quant_assets.settings.sectors import SECTORS

#: Where trainers write down what they hold; `DEVICE_PROOF_EVERY` is how many devices the trainings over all take.
FOLDER, EVERY = "DEVICE_PROOF_FOLDER", "DEVICE_PROOF_EVERY"
MONTH = "2024-06"

_PERIOD = 0.1


def hold(inputs: Path, outputs: Path, *, folder: str, run: str, asset: str, sector: str) -> None:
    """Says every tenth of a second that it lives and what it holds, until there is a file that lets it end."""
    own = Path(folder) / f"{run}.{os.getpid()}"
    first = time.time()
    while True:
        ended = own.with_suffix(".release").exists() or Path(folder, f"{run}.release").exists()
        facts = [str(first), str(time.time()), run, asset, sector, os.environ["CUDA_VISIBLE_DEVICES"], str(ended)]
        own.with_suffix(f".{os.getpid()}.new").write_text("\n".join(facts))
        own.with_suffix(f".{os.getpid()}.new").rename(own.with_name(f"{own.name}.held"))
        if ended:
            return
        time.sleep(_PERIOD)


def _training(name: str, devices: int) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        pool=POOL,
        partitions_def=dg.MultiPartitionsDefinition(
            {"month": dg.StaticPartitionsDefinition([MONTH]), "sector": dg.StaticPartitionsDefinition(list(SECTORS))}
        ),
    )
    def training(context: dg.AssetExecutionContext) -> None:
        sector, _ = parse_key(context.partition_key)
        given = {"folder": os.environ[FOLDER], "run": context.run.run_id, "asset": name, "sector": sector}
        with unit_folders() as folders:
            place = launcher(context, LaunchSettings()).on(devices)
            place.launch(Unit.of(hold, given, folders, devices, sector or ""))

    return training


defs = dg.Definitions(
    assets=[
        _training("single_checkpoint", 1),
        _training("pair_checkpoint", 2),
        _training("all_checkpoint", int(os.environ.get(EVERY, "8"))),
    ],
    executor=in_process_executor(),
)
