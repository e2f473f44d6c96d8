"""What is remembered of revisions, in the storage they are about: which files were looked into, and what was decided.

One artifact, replaced as a whole. Beside it each revision has one of its own, for a person.
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
    """What is remembered.

    Attributes:
        files: hash of each file that was looked into to the end, by asset and name.
        month: the newest month at that time.
        decided: the newest decision on each partition that differed, by asset and key: the revision that it belongs
            to (empty where it was reported alone), and the hashes of rows before and after.
        pending: a revision whose backfill was about to be asked for.
        looking: files of a look that has not ended, by asset and name.
        found: what it has found, by sector (empty text for none).

    """

    files: dict[str, dict[str, str]] = field(default_factory=dict)
    month: str = ""
    decided: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    pending: str = ""
    looking: dict[str, dict[str, str]] = field(default_factory=dict)
    found: dict[str, list[list[Any]]] = field(default_factory=dict)

    @classmethod
    def of(cls, store: DatasetStore) -> "RevisionState":
        """As it is stored; empty where nothing was looked into yet."""
        return cls(**json.loads(store.read_artifact(_STATE))) if store.has_artifact(_STATE) else cls()

    def keep(self, store: DatasetStore) -> None:
        """Store it."""
        store.write_artifact(_STATE, json.dumps(asdict(self), sort_keys=True).encode())

    def decision(self, of: Revised) -> str | None:
        """The revision that this very change of a partition was given to, empty for reported; None for none yet."""
        revision, was, now = self.decided.get(of.asset, {}).get(of.partition_key, ["", "", ""])
        return revision if (was, now) == (of.was, of.now) else None

    def decide(self, revised: Iterable[Revised], revision: str) -> None:
        """Note what was decided on partitions."""
        for each in revised:
            self.decided.setdefault(each.asset, {})[each.partition_key] = [revision, each.was, each.now]

    def name(self, revised: Sequence[Revised]) -> str:
        """Name of the revision of these partitions: at most 32 characters, the same until something is decided.

        A file that goes back and forth gives the same rows again; the decisions in between make it another revision.
        """
        before = [self.decided.get(each.asset, {}).get(each.partition_key) for each in revised]
        told = json.dumps([[[each.asset, each.partition_key, each.was, each.now] for each in revised], before])
        return f"rev-{hashlib.sha256(told.encode()).hexdigest()[:20]}"


@dataclass(frozen=True)
class Revision:
    """A revision as it is kept.

    Attributes:
        title: for the list of backfills.
        description: in words.
        files: that changed.
        revised: the partitions that differ.
        recomputed: keys of what is computed again, by asset.

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
    """The partitions of a revision that was kept."""
    return [
        Revised(**{**each, "names": tuple(each["names"])})
        for each in json.loads(store.read_artifact(f"revisions/{name}.json"))["revised"]
    ]
