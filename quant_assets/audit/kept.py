"""Finished parts of a long audit in a folder of the user's: the same audit of the same code goes on where it ended."""

import json
from dataclasses import asdict, dataclass, fields
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from quant_assets.audit.findings import AuditResult, Comparison
from quant_assets.audit.parts import Part
from quant_assets.errors import SettingsError
from quant_assets.profile import Profile
from quant_assets.provenance.code import digest

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Kept:
    """Results of parts, each in a file that is named by what it follows from.

    Attributes:
        folder: of the user's; made where it is not there.
        profile: that is audited.

    """

    folder: Path
    profile: Profile

    def result(self, part: Part) -> AuditResult | None:
        """What was kept of a part; None where nothing was, or the code, settings, days or data were others.

        Raises:
            SettingsError: the file is none of an audit.

        """
        path = self._path(part)
        if not path.exists():
            return None
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
            comparisons = tuple(_comparison(each) for each in given.pop("comparisons"))
            sectors, notes = tuple(given.pop("sectors")), tuple(given.pop("notes"))
            return AuditResult(**given, sectors=sectors, comparisons=comparisons, notes=notes)
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{path} is no kept part of an audit ({error}); delete it") from error

    def keep(self, part: Part, result: AuditResult) -> None:
        """Write the result of a part; a reader never sees half of it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(part)
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(asdict(result), default=str), encoding="utf-8")
        unfinished.replace(path)

    def _path(self, part: Part) -> Path:
        return self.folder / f"{'-'.join(part.sectors)}-{part.first}-{part.last}-{digest(f'{part} {self._state}')}.json"

    @cached_property
    def _state(self) -> str:
        """Digest of the code, the settings, the last day, and of which files of data there are."""
        settings, digests = self.profile.settings, [str(self.profile.last_session())]
        digests += [digest(path.read_bytes()) for path in sorted(_PACKAGE.rglob("*.py"))]
        data = settings.data_dir
        if settings.source != "demo" and data is not None:
            found = ((path, path.stat()) for path in sorted(data.rglob("*")) if path.is_file())
            digests += [f"{path} {about.st_size} {about.st_mtime_ns}" for path, about in found]
        return digest("\n".join([settings.model_dump_json(exclude={"storage"}), *digests]))


def _comparison(given: dict[str, Any]) -> Comparison:
    days = {name: given[name] and date.fromisoformat(given[name]) for name in ("cut", "first_date")}
    return Comparison(**{each.name: given[each.name] for each in fields(Comparison)} | days)
