"""A long audit goes on where it ended, and says how long it will take."""

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from quant_assets.audit import parallel
from quant_assets.audit.findings import AuditResult, Comparison, Exempt
from quant_assets.audit.kept import Kept
from quant_assets.audit.parallel import audit_parts
from quant_assets.audit.parts import Part
from quant_assets.audit.remaining import Remaining
from quant_assets.errors import SettingsError
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets.settings.origin import conf_dir

PARTS = [Part("demo", (sector,), "2024-01", "2024-06", ("macro",)) for sector in ("energy", "telecoms")]
CUT = date(2024, 5, 16)


def result_of(part: Part) -> AuditResult:
    found = (
        Comparison(
            "macro", "events", CUT, "value", 9, 2, CUT, key="k", expected="1", found="2", deviation=float("inf")
        ),
        Comparison("macro", "order", compared=9),
    )
    return AuditResult("demo", part.sectors, part.first, part.last, 1.5, found, ("a note",))


def test_what_is_exempt_stays_so_and_the_users_code_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(conf_dir(), conf)
    monkeypatch.setenv("QUANT_CONF_DIR", str(conf))
    clean = AuditResult("demo", PARTS[0].sectors, "2024-01", "2024-06", 1.0, (), (Exempt("order: as promised"),))
    kept(tmp_path).keep(PARTS[0], clean)
    found = kept(tmp_path).result(PARTS[0])
    assert found is not None
    assert (found.status, found.exempt, found.untested) == (clean.status, clean.exempt, clean.untested)
    (conf / "my_features.py").write_text("FEATURES = ()\n")
    assert kept(tmp_path).result(PARTS[0]) is None


def kept(folder: Path, as_of: date = CUT) -> Kept:
    return Kept(folder / "audited", Profile(load_settings("demo", as_of=as_of)))


def test_finished_parts_are_taken_and_only_the_others_are_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audited: list[Part] = []

    def audit(part: Part, *_: object) -> AuditResult:
        if part.sectors == ("telecoms",) and len(audited) < 2:
            audited.append(part)
            raise KeyboardInterrupt
        audited.append(part)
        return result_of(part)

    monkeypatch.setattr(parallel.Part, "audit", audit)
    with pytest.raises(KeyboardInterrupt):
        audit_parts(PARTS, 1, lambda *_: None, kept(tmp_path))
    first = audit_parts(PARTS, 1, lambda *_: None, kept(tmp_path))
    assert [part.sectors[0] for part in audited] == ["energy", "telecoms", "telecoms"]
    assert first.comparisons == (*result_of(PARTS[0]).comparisons, *result_of(PARTS[1]).comparisons)
    again = audit_parts(PARTS, 1, lambda *_: None, kept(tmp_path))
    assert len(audited) == 3
    assert replace(again, seconds=0.0) == replace(first, seconds=0.0)


def test_nothing_is_taken_from_other_settings_days_or_parts(tmp_path: Path) -> None:
    kept(tmp_path).keep(PARTS[0], result_of(PARTS[0]))
    assert kept(tmp_path).result(PARTS[0]) == result_of(PARTS[0])
    assert kept(tmp_path).result(replace(PARTS[0], last="2024-05")) is None
    assert kept(tmp_path, date(2024, 5, 17)).result(PARTS[0]) is None


def test_a_file_that_is_none_of_an_audit_is_named(tmp_path: Path) -> None:
    kept(tmp_path).keep(PARTS[0], result_of(PARTS[0]))
    (path,) = (tmp_path / "audited").iterdir()
    path.write_text('{"passed": true}')
    with pytest.raises(SettingsError, match=rf"{path.name} is not a readable part of an audit.*delete it"):
        kept(tmp_path).result(PARTS[0])


def test_what_is_left_is_told_at_the_speed_of_what_is_done() -> None:
    now = [100.0]
    remaining = Remaining(parts=3, clock=lambda: now[0])
    assert str(remaining) == ""
    remaining.begins([600, 400])
    assert str(remaining) == ""
    now[0] += 60.0
    remaining.ends(100)
    # 2900 of 3000 partitions are left, 100 a minute.
    assert str(remaining) == "about 29 min left"
    remaining.begins([2000])
    assert str(remaining) == "about 44 min left"
    remaining.ends(0)
    now[0] += 540.0
    assert str(remaining) == "about 7 h 20 min left"
