"""A storage made by hand in which a sector has checkpoints, and what trainings read: the same bytes, no training."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl

from quant_assets.automation.moment import Moment
from quant_assets.learning.model_files import sha256
from quant_assets.market.calendar import last_session_to, sessions
from quant_assets.partitions import key, month_end, month_range, month_start, shift_month
from quant_assets.provenance.record import PartitionRecorder
from quant_assets.schemas import CHECKPOINTS
from quant_assets_tests.synthetic_learning import simulate

SECTOR, AS_OF = "energy", date(2021, 4, 30)

#: What the months are that a training of a month up to April 2021 reads, and those whose checkpoints predictions need.
FIRST, OLDEST, NEWEST = "2020-03", "2020-11", "2021-04"

#: By the environment, as a code server gets it: what a tick loads is made anew each time.
ENVIRONMENT = {
    "QUANT__AS_OF": str(AS_OF),
    "QUANT__PARTITIONS__START": FIRST,
    "QUANT__TRAINING__CADENCE_MONTHS": "3",
    "QUANT__TRAINING__WINDOW_MONTHS": "6",
    "QUANT__MODELS": json.dumps({"lightgbm": {"kind": "lightgbm"}, "xgboost": None, "random_forest": None}),
}

EXPECTED_IC, IC_ERROR = 0.30, 0.02


def closing(month: str) -> date:
    """Last session of a month."""
    return last_session_to(month_end(month))


#: The same for a sector whose rows are there to be trained on, from its first month on.
LEARNT = "it"
LEARNT_FIRST = "2020-01"
LEARNT_ENVIRONMENT = {
    "QUANT__PARTITIONS__START": LEARNT_FIRST,
    "QUANT__FEATURES__SETS": '["core"]',
    "QUANT__TRAINING__CADENCE_MONTHS": "3",
    "QUANT__TRAINING__WINDOW_MONTHS": "9",
    "QUANT__TRAINING__FOLDS": "2",
    "QUANT__TRAINING__SAMPLE_EVERY_SESSIONS": "2",
    "QUANT__TRAINING__MIN_ROWS": "100",
    "QUANT__LABELS__HORIZONS": "[1, 5, 20]",
    "QUANT__MODELS": json.dumps(
        {
            "lightgbm": {"kind": "lightgbm", "horizons": [20], "parameters": {"min_data_in_leaf": 20, "num_trees": 5}},
            **dict.fromkeys(("linear", "xgboost", "random_forest")),
        }
    ),
}


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

    def write(self, name: str, rows: pl.DataFrame, sector: str | None, months: Sequence[str], known: date) -> None:
        """Partitions as a run of now writes them that knows until a session, and a month's own end at most."""
        until = {
            key(sector, month): min(known, self.profile.known_through(month, self._matures(name))) for month in months
        }
        self.profile.store.write(
            self.profile.datasets[name], rows, list(until), until.__getitem__, self.recorder.made_by(name, {})
        )

    def learnt(self) -> None:
        """Features and labels of `LEARNT`, with a relation to be found, as far as they are known."""
        known = self.profile.last_session()
        market = simulate(tickers=20, horizons=(1, 5, 20), first=date(2020, 1, 1), last=date(2021, 12, 31))
        months = month_range(LEARNT_FIRST, self.profile.last_month())
        for name, at, rows in zip(("features", "labels"), ("date", "known_at"), market, strict=True):
            own = rows.filter(pl.col(at) <= known).with_columns(sector=pl.lit(LEARNT))
            self.write(name, own.select(self.profile.datasets[name].empty().columns), LEARNT, months, known)

    def forecasts(self, months: Sequence[str], of: str, right: bool, sector: str = SECTOR, late: int = 0) -> None:
        """Predictions one session ahead by the checkpoint of a month, all right or all wrong, and their outcomes.

        Args:
            months: of the predictions.
            of: month of the checkpoint.
            right: whether the order of the predictions is that of the outcomes.
            sector: slug.
            late: sessions by which outcomes become known later than they do.

        """
        days = sessions(month_start(months[0]), month_end(months[-1]))
        after = sessions(month_start(months[0]), month_end(shift_month(months[-1], 2)))
        rows = [
            {
                "sector": sector,
                "ticker": f"T{place}",
                "date": day.item(),
                "horizon": 1,
                "prediction": place / 100 if right else -place / 100,
                "prediction_std": 0.1,
                "prob_up": 0.5,
                "confidence": 0.0,
                "model": "lightgbm",
                "model_version": version(of),
                "forward_return": place / 50 + number / 1e4,
                "known_at": after[number + 2 + late].item(),
            }
            for number, day in enumerate(days)
            for place in range(10)
        ]
        for name in ("predictions", "labels"):
            empty = self.profile.datasets[name].empty()
            made = pl.DataFrame(rows).with_columns(pl.col("horizon").cast(pl.Int32), unexplained=pl.lit(False))
            stored = pl.concat([empty, made.select(*set(empty.columns) & set(made.columns))], how="diagonal")
            known = self.profile.last_session()
            if name == "labels":
                stored = stored.filter(pl.col("known_at") <= known)
            self.write(name, stored.sort("date", "ticker"), sector, months, known)

    def drift(self, month: str, of: str, psi: Sequence[float], sector: str = SECTOR, usual: float = 0.2) -> None:
        """How far each of some features has moved in a month from the training rows of the checkpoint of another."""
        rows = [
            {
                "sector": sector,
                "as_of": closing(month),
                "model": "lightgbm",
                "feature": f"feature_{place}",
                "checkpoint": closing(of),
                "psi": value,
                "usual_psi": usual,
            }
            for place, value in enumerate(psi)
        ]
        empty = self.profile.datasets["feature_drift"].empty()
        stored = pl.DataFrame(rows, schema=empty.schema)
        self.write("feature_drift", stored, sector, [month], self.profile.last_session())

    def _matures(self, name: str) -> int:
        return max((last for _, last in self.recorder.versions[name].windows.values()), default=0)

    def checkpoints(
        self,
        trained: Sequence[str],
        empty: Sequence[str] = (),
        sector: str = SECTOR,
        dataset: str = CHECKPOINTS.name,
        **changed: Any,
    ) -> None:
        """Partitions of checkpoints of some months, with one model and horizon where trained."""
        parts = [self.profile.datasets[dataset].empty()]
        for month in trained:
            parts.append(self._checkpoint(sector, month, **changed))
        months = sorted([*trained, *empty])
        self.write(dataset, pl.concat(parts), sector, months, self.profile.last_session())

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
