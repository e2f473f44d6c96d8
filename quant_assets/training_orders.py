"""Trainings that were ordered for months that are no training months, each with its reason, in the store.

    artifacts/orders/<sector>/<YYYY-MM>.json
    artifacts/orders/<sector>/<dataset>/<YYYY-MM>.json

The latter of datasets other than `CHECKPOINTS`: an order is one dataset's and trains nothing else. A run carries an
order in its tags; the training notes it here before anything else, and every later run of the month trains it too. So
what a checkpoint follows from is stored, and not in the records of runs. An order is never changed: the first one
stands.
"""

import hashlib
import json
from collections.abc import Mapping

from quant_assets.errors import DatasetError, SettingsError
from quant_assets.grains import check_month
from quant_assets.io.store import DatasetStore
from quant_assets.schemas import CHECKPOINTS

#: Tags of a run: the month that it trains whatever the cadence, and for which reasons it was asked for.
ORDER, REASONS = "quant/order", "quant/reasons"

_FOLDER, _DIGEST_LENGTH = "orders", 16


class TrainingOrders:
    """The orders of a storage.

    Args:
        store: where they are.

    """

    def __init__(self, store: DatasetStore) -> None:
        self._store = store

    def note(self, sector: str, month: str, why: str, dataset: str = CHECKPOINTS.name) -> None:
        """Keep an order, unless there is one for the month.

        Args:
            sector: slug.
            month: that is trained.
            why: in words.
            dataset: that the training fills.

        """
        name = f"{_folder(sector, dataset)}/{check_month(month)}.json"
        if not self._store.has_artifact(name):
            told = {"month": month, "sector": sector, "why": why}
            self._store.write_artifact(name, (json.dumps(told, sort_keys=True) + "\n").encode())

    def months(self, sector: str, dataset: str = CHECKPOINTS.name) -> Mapping[str, str]:
        """Months of a sector's orders for a dataset, each with its reason.

        Raises:
            DatasetError: a file is no order; names it.

        """
        return {month: self._why(name, content) for name, month, content in self._found(sector, dataset)}

    def digests(self, sector: str, dataset: str = CHECKPOINTS.name) -> Mapping[str, str]:
        """Digest of each order of a sector for a dataset, by month."""
        found = self._found(sector, dataset)
        return {month: hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH] for _, month, content in found}

    def _found(self, sector: str, dataset: str) -> list[tuple[str, str, bytes]]:
        folder = _folder(sector, dataset)
        inside = (name for name in self._store.artifacts(folder) if name.endswith(".json"))
        names = [name for name in inside if name.rpartition("/")[0] == folder]
        contents = self._store.read_artifacts(names)
        return [
            (name, name.rpartition("/")[2].removesuffix(".json"), content)
            for name, content in zip(names, contents, strict=True)
        ]

    def _why(self, name: str, content: bytes) -> str:
        try:
            return str(json.loads(content)["why"])
        except (ValueError, KeyError, TypeError):
            raise DatasetError(f"{self._store.artifact_url(name)} is no order of a training; delete it") from None


def _folder(sector: str, dataset: str) -> str:
    return f"{_FOLDER}/{sector}" if dataset == CHECKPOINTS.name else f"{_FOLDER}/{sector}/{dataset}"


def ordered(tags: Mapping[str, str], months: tuple[str, ...]) -> tuple[str, str] | None:
    """Month and reason of the order that a run carries; None where it carries none.

    Args:
        tags: of the run.
        months: of the run.

    Raises:
        SettingsError: the month is none of the run's.

    """
    month = tags.get(ORDER)
    if month is None:
        return None
    if month not in months:
        raise SettingsError(
            f"tag {ORDER} names {month!r}, which is none of the run's months {months[0]} to {months[-1]}; "
            "name one of them, or leave the tag out"
        )
    return month, tags.get(REASONS) or "no reason was given"
