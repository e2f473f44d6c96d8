"""Finished parts of a long audit in the user's folder, so that the same audit of the same code can resume."""

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
    """Results of parts, in files named by a digest of code, settings and data.

    Attributes:
        folder: the user's; created if missing.
        profile: the audited one.

    """

    folder: Path
    profile: Profile

    def result(self, part: Part) -> AuditResult | None:
        """The stored result of a part; None without one for the same code, settings, days and data.

        Raises:
            SettingsError: the file is not a part of an audit.

        """
        path = self._path(part)
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            comparisons = tuple(_comparison(comparison) for comparison in content.pop("comparisons"))
            sectors = tuple(content.pop("sectors"))
            notes = tuple(Exempt(text) if exempt else text for text, exempt in content.pop("notes"))
            return AuditResult(**content, sectors=sectors, comparisons=comparisons, notes=notes)
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{path} is not a readable part of an audit ({error}); delete it") from error

    def keep(self, part: Part, result: AuditResult) -> None:
        """Write the result of a part atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(part)
        unfinished = path.with_suffix(".unfinished")
        content = asdict(result) | {"notes": [(str(note), isinstance(note, Exempt)) for note in result.notes]}
        unfinished.write_text(json.dumps(content, default=str), encoding="utf-8")
        unfinished.replace(path)

    def _path(self, part: Part) -> Path:
        return self.folder / f"{'-'.join(part.sectors)}-{part.first}-{part.last}-{digest(f'{part} {self._state}')}.json"

    @cached_property
    def _state(self) -> str:
        """Digest of code, settings folder with the user's code, last day and data files."""
        settings, digests = self.profile.settings, [str(self.profile.last_session())]
        code = [*sorted(_PACKAGE.rglob("*.py")), *sorted(path for path in conf_dir().rglob("*") if path.is_file())]
        digests += [digest(path.read_bytes()) for path in code]
        data = self.profile.data_dir
        if settings.source != "demo" and data is not None:
            files = ((path, path.stat()) for path in sorted(data.rglob("*")) if path.is_file())
            digests += [f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in files]
        return digest("\n".join([settings.model_dump_json(exclude={"storage"}), *digests]))


def _comparison(content: dict[str, Any]) -> Comparison:
    days = {name: content[name] and date.fromisoformat(content[name]) for name in ("cut", "first_date")}
    return Comparison(**{field.name: content[field.name] for field in fields(Comparison)} | days)
