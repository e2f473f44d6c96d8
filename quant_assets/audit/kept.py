"""Finished parts of a long audit in a folder of the user's: the same audit of the same code goes on where it ended."""

import json
from dataclasses import asdict, dataclass, fields
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from quant_assets.audit.findings import AuditResult, Comparison, Exempt
from quant_assets.audit.parts import Part
from quant_assets.errors import SettingsError
from quant_assets.profile import Profile
from quant_assets.provenance.code import digest
from quant_assets.settings.origin import conf_dir

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
            sectors = tuple(given.pop("sectors"))
            notes = tuple(Exempt(text) if exempt else text for text, exempt in given.pop("notes"))
            return AuditResult(**given, sectors=sectors, comparisons=comparisons, notes=notes)
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{path} is no kept part of an audit ({error}); delete it") from error

    def keep(self, part: Part, result: AuditResult) -> None:
        """Write the result of a part; a reader never sees half of it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(part)
        unfinished = path.with_suffix(".unfinished")
        given = asdict(result) | {"notes": [(str(note), isinstance(note, Exempt)) for note in result.notes]}
        unfinished.write_text(json.dumps(given, default=str), encoding="utf-8")
        unfinished.replace(path)

    def _path(self, part: Part) -> Path:
        return self.folder / f"{'-'.join(part.sectors)}-{part.first}-{part.last}-{digest(f'{part} {self._state}')}.json"

    @cached_property
    def _state(self) -> str:
        """Digest of the code, of the settings' folder and the user's code in it, the last day, and the data files."""
        settings, digests = self.profile.settings, [str(self.profile.last_session())]
        code = [*sorted(_PACKAGE.rglob("*.py")), *sorted(path for path in conf_dir().rglob("*") if path.is_file())]
        digests += [digest(path.read_bytes()) for path in code]
        data = self.profile.data_dir
        if settings.source != "demo" and data is not None:
            found = ((path, path.stat()) for path in sorted(data.rglob("*")) if path.is_file())
            digests += [f"{path} {about.st_size} {about.st_mtime_ns}" for path, about in found]
        return digest("\n".join([settings.model_dump_json(exclude={"storage"}), *digests]))


def _comparison(given: dict[str, Any]) -> Comparison:
    days = {name: given[name] and date.fromisoformat(given[name]) for name in ("cut", "first_date")}
    return Comparison(**{each.name: given[each.name] for each in fields(Comparison)} | days)
