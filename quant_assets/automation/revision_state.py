"""Stored state of revisions, in the storage that they are about: examined files and decisions.

One artifact, replaced as a whole. Each revision also has an artifact of its own, for people.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from quant_assets.automation.revised import Revised
from quant_assets.io.store import DatasetStore

_STATE = "revisions/state.json"


@dataclass
class RevisionState:
    """State of revisions.

    Attributes:
        files: hashes of the files of the last completed look, by asset and name.
        month: the newest month at that time.
        decided: the newest decision on each differing partition, by asset and key: its revision (empty if it was only
            reported), and the hashes of its rows before and after.
        pending: a revision whose backfill is about to be requested.
        looking: files of an unfinished look, by asset and name.
        found: its results so far, by sector (empty text for none).

    """

    files: dict[str, dict[str, str]] = field(default_factory=dict)
    month: str = ""
    decided: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    pending: str = ""
    looking: dict[str, dict[str, str]] = field(default_factory=dict)
    found: dict[str, list[list[Any]]] = field(default_factory=dict)

    @classmethod
    def of(cls, store: DatasetStore) -> "RevisionState":
        """The stored state; empty before the first look."""
        return cls(**json.loads(store.read_artifact(_STATE))) if store.has_artifact(_STATE) else cls()

    def keep(self, store: DatasetStore) -> None:
        """Store it."""
        store.write_artifact(_STATE, json.dumps(asdict(self), sort_keys=True).encode())

    def decision(self, of: Revised) -> str | None:
        """The revision of this change of a partition, empty if it was only reported; None without a decision."""
        revision, was, now = self.decided.get(of.asset, {}).get(of.partition_key, ["", "", ""])
        return revision if (was, now) == (of.was, of.now) else None

    def decide(self, revised: Iterable[Revised], revision: str) -> None:
        """Record a decision on partitions."""
        for item in revised:
            self.decided.setdefault(item.asset, {})[item.partition_key] = [revision, item.was, item.now]

    def name(self, revised: Sequence[Revised]) -> str:
        """Name of the revision of these partitions: at most 32 characters, the same until the next decision.

        A file that alternates gives the same rows again; because of the decisions in between it is another revision.
        """
        before = [self.decided.get(item.asset, {}).get(item.partition_key) for item in revised]
        content = json.dumps([[[item.asset, item.partition_key, item.was, item.now] for item in revised], before])
        return f"rev-{hashlib.sha256(content.encode()).hexdigest()[:20]}"


@dataclass(frozen=True)
class Revision:
    """A revision as it is stored.

    Attributes:
        title: title in the list of backfills.
        description: description in words.
        files: changed files.
        revised: differing partitions.
        recomputed: keys of the partitions to recompute, by asset.

    """

    title: str
    description: str
    files: Sequence[str]
    revised: Sequence[Revised]
    recomputed: Mapping[str, Sequence[str]]

    def keep(self, store: DatasetStore, name: str) -> None:
        """Store it."""
        store.write_artifact(f"revisions/{name}.json", json.dumps(asdict(self), indent=1, sort_keys=True).encode())


def kept_revised(store: DatasetStore, name: str) -> list[Revised]:
    """The partitions of a stored revision."""
    return [
        Revised(**{**entry, "names": tuple(entry["names"])})
        for entry in json.loads(store.read_artifact(f"revisions/{name}.json"))["revised"]
    ]
