"""Orders of trainings for months that are not training months, with reasons, in the store.

    artifacts/orders/<sector>/<YYYY-MM>.json
    artifacts/orders/<sector>/<dataset>/<YYYY-MM>.json

The second path is for datasets other than `CHECKPOINTS`, because an order is for one dataset. A run carries an order in
its tags. The training records it here first, and every later run of the month trains too. So the reason of a checkpoint
is in the store and not in the records of runs. An order is never changed.
"""

import hashlib
import json
from collections.abc import Mapping

from quant_assets.errors import DatasetError, SettingsError
from quant_assets.grains import check_month
from quant_assets.io.store import DatasetStore
from quant_assets.schemas import CHECKPOINTS

#: Tags of a run: the month that it trains regardless of the cadence, and the reasons.
ORDER, REASONS = "quant/order", "quant/reasons"

_FOLDER, _DIGEST_LENGTH = "orders", 16


class TrainingOrders:
    """The orders of a storage.

    Args:
        store: of the profile.

    """

    def __init__(self, store: DatasetStore) -> None:
        self._store = store

    def note(self, sector: str, month: str, why: str, dataset: str = CHECKPOINTS.name) -> None:
        """Record an order, unless there is one for the month.

        Args:
            sector: slug.
            month: to train.
            why: the reason.
            dataset: of the training.

        """
        name = f"{_folder(sector, dataset)}/{check_month(month)}.json"
        if not self._store.has_artifact(name):
            order = {"month": month, "sector": sector, "why": why}
            self._store.write_artifact(name, (json.dumps(order, sort_keys=True) + "\n").encode())

    def months(self, sector: str, dataset: str = CHECKPOINTS.name) -> Mapping[str, str]:
        """Reasons of a sector's orders for a dataset, by month.

        Raises:
            DatasetError: a file is not an order; names it.

        """
        return {month: self._why(name, content) for name, month, content in self._found(sector, dataset)}

    def digests(self, sector: str, dataset: str = CHECKPOINTS.name) -> Mapping[str, str]:
        """Digests of a sector's orders for a dataset, by month."""
        orders = self._found(sector, dataset)
        return {month: hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH] for _, month, content in orders}

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
            raise DatasetError(f"{self._store.artifact_url(name)} is not an order of a training; delete it") from None


def _folder(sector: str, dataset: str) -> str:
    return f"{_FOLDER}/{sector}" if dataset == CHECKPOINTS.name else f"{_FOLDER}/{sector}/{dataset}"


def ordered(tags: Mapping[str, str], months: tuple[str, ...]) -> tuple[str, str] | None:
    """Month and reason of a run's order; None without an order.

    Args:
        tags: of the run.
        months: of the run.

    Raises:
        SettingsError: the month is not one of the run's.

    """
    month = tags.get(ORDER)
    if month is None:
        return None
    if month not in months:
        raise SettingsError(
            f"tag {ORDER} names {month!r}, which is not one of the run's months {months[0]} to {months[-1]}; "
            "name one of them, or omit the tag"
        )
    return month, tags.get(REASONS) or "no reason was given"
