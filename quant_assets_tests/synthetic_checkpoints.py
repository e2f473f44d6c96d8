"""A storage made by hand in which a sector has checkpoints, and what trainings read: the same bytes, no training."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl

from quant_assets.automation.moment import Moment
from quant_assets.learning.model_files import sha256
from quant_assets.market.calendar import last_session_to
from quant_assets.partitions import key, month_end, month_range
from quant_assets.provenance.record import PartitionRecorder
from quant_assets.schemas import CHECKPOINTS

SECTOR, AS_OF = "energy", date(2021, 4, 30)

#: What the months are that a training of a month up to April 2021 reads, and those whose checkpoints predictions need.
FIRST, OLDEST, NEWEST = "2020-03", "2020-11", "2021-04"

#: By the environment, as a code server gets it: what a tick loads is made anew each time.
ENVIRONMENT = {
    "QUANT__AS_OF": str(AS_OF),
    "QUANT__PARTITIONS__START": FIRST,
    "QUANT__TRAINING__WINDOW_MONTHS": "6",
    "QUANT__MODELS": json.dumps({"lightgbm": {"kind": "lightgbm"}, "xgboost": None, "random_forest": None}),
}

EXPECTED_IC, IC_ERROR = 0.30, 0.02


def closing(month: str) -> date:
    """Last session of a month."""
    return last_session_to(month_end(month))


class Built:
    """Fills the storage of a moment."""

    def __init__(self, moment: Moment) -> None:
        self.profile = moment.profile
        self.recorder: PartitionRecorder = (moment.defs.resources or {})["parquet"].recorder

    def inputs(self, sector: str = SECTOR, known: date | None = None) -> None:
        """Features and labels without rows, of every month up to the newest, as of a session."""
        months = month_range(FIRST, NEWEST)
        for name in ("features", "labels"):
            self.write(name, self.profile.datasets[name].empty(), sector, months, known or self.profile.last_session())

    def write(self, name: str, rows: pl.DataFrame, sector: str, months: Sequence[str], known: date) -> None:
        """Partitions as a run of now writes them that knows until a session, and a month's own end at most."""
        until = {
            key(sector, month): min(known, self.profile.known_through(month, self._matures(name))) for month in months
        }
        self.profile.store.write(
            self.profile.datasets[name], rows, list(until), until.__getitem__, self.recorder.made_by(name, {})
        )

    def _matures(self, name: str) -> int:
        return max((last for _, last in self.recorder.versions[name].windows.values()), default=0)

    def checkpoints(
        self, trained: Sequence[str], empty: Sequence[str] = (), sector: str = SECTOR, **changed: Any
    ) -> None:
        """Partitions of checkpoints of some months, with one model and horizon where trained."""
        parts = [self.profile.datasets[CHECKPOINTS.name].empty()]
        for month in trained:
            parts.append(self._checkpoint(sector, month, **changed))
        months = sorted([*trained, *empty])
        self.write(CHECKPOINTS.name, pl.concat(parts), sector, months, self.profile.last_session())

    def _checkpoint(self, sector: str, month: str, **changed: Any) -> pl.DataFrame:
        metrics = {"rank_ic": EXPECTED_IC, "rank_ic_standard_error": IC_ERROR}
        manifest = json.dumps({"sector": sector, "month": month, "metrics": metrics}).encode()
        place = f"{CHECKPOINTS.name}/{sector}/{month}/manifest_h1.json"
        self.profile.store.write_artifact(place, manifest)
        row = {
            "as_of": closing(month),
            "model": "lightgbm",
            "kind": "lightgbm",
            "horizon": 1,
            "status": "trained",
            "model_version": version(month),
            "manifest_file": place,
            "manifest_sha256": sha256(manifest),
            "rows": 1000,
            "last_known_at": last_session_to(closing(month) - timedelta(days=7)),
        }
        schema = {"sector": pl.String} | dict(CHECKPOINTS.schema)
        return pl.DataFrame([{"sector": sector} | row | changed], schema=schema, orient="row").select(
            self.profile.datasets[CHECKPOINTS.name].empty().columns
        )


def version(month: str) -> str:
    """Of the checkpoint of a month."""
    return sha256(month.encode())[:12]
