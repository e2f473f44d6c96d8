"""Providers under the audit: files are read anew elsewhere; what a provider opens, or says of its files, is its own."""

from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from quant_assets.audit import surroundings
from quant_assets.audit.alterations import Truncated
from quant_assets.audit.findings import AuditResult, TestName
from quant_assets.audit.inputs import altered_source, readable_often
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.audit.providers import audit_provider
from quant_assets.partitions import month_start
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets.sources.registry import said_left_out
from quant_assets_tests.audit.innocent import WithOwnFile
from quant_assets_tests.audit.leaks import LEAKS
from quant_assets_tests.audit.leaks_of_surroundings import FILE, compute_planted
from quant_assets_tests.audit.test_mutations import SECTOR, UNTRAINED, small
from quant_assets_tests.graph import PROJECT

TABLES = {
    "bars": ["ticker,date,open,high,low,close,volume", *(f"A,2024-05-{day},10,11,9,10,100" for day in range(13, 18))],
    "sectors": ["ticker,sector,as_of", "A,Tech,2020-01-01"],
    # The first and the last are published before the end of their period: it is told that these days are not used.
    "statements": [
        "ticker,period_end,published,revenue",
        "A,2023-09-30,2023-09-20,100",
        "A,2023-12-31,2024-03-20,100",
        "A,2024-03-31,2024-06-20,100",
        "A,2024-06-30,2024-06-25,100",
    ],
    "macro": ["series_id,period,value", *(f"CPI,2024-0{month}-01,{month}" for month in range(1, 9))],
}
FILES: dict[str, Any] = {
    "prices": [{"file": "bars.csv", "provider": "bars", "adjustment": "as_traded"}],
    "membership": None,
    "securities": {"file": "sectors.csv", "sectors": {"Tech": "it"}},
    "fundamentals": [
        {"file": "statements.csv", "provider": "one", "frequency": "quarterly", "columns": {"revenue": "revenue"}}
    ],
    "macro": [{"file": "macro.csv", "series": {"CPI": {"frequency": "monthly", "lag_days": 14}}}],
    "crypto": None,
    "indices": None,
    "renames": [],
    "delisted": [],
}


def audited(
    patch: pytest.MonkeyPatch, profile: Profile, plant: Sequence[str], sector: str, *assets: str, last: str
) -> AuditResult:
    for name in plant:
        LEAKS[name].plant(patch)
    patch.setattr(surroundings, "compute", partial(compute_planted, tuple(plant)))
    patch.syspath_prepend(str(PROJECT))  # where the other process finds the leaks too
    return audit_lookahead(
        profile, sectors=[sector], first=last, last=last, assets=assets, tests=["state", "surroundings"]
    )


@pytest.fixture
def of_files(tmp_path: Path) -> Profile:
    for name, lines in TABLES.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fixed = {"as_of": date(2024, 8, 30), "partitions": {"start": "2024-01", "end": "2024-08"}}
    return Profile(load_settings("files", files=FILES, data_dir=tmp_path, storage=str(tmp_path / "storage"), **fixed))


@pytest.mark.slow
@pytest.mark.parametrize(
    "planted", [True, pytest.param(False, marks=pytest.mark.nightly)], ids=["by the zone", "as they are"]
)
def test_files_are_decoded_in_the_other_surroundings(
    of_files: Profile, planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = ["figures of a file by the machine's zone"] if planted else []
    result = audited(monkeypatch, of_files, plant, "it", "macro", last="2024-07")
    failed = [(each.test, each.asset, each.column) for each in result.failures]
    assert failed == ([("surroundings", "macro", "value")] if planted else [])
    assert all(each.cause.startswith("depends on the machine's time zone") for each in result.failures)
    assert all(each.compared for each in result.comparisons)
    assert result.notes == ()


@pytest.mark.slow
def test_what_is_told_of_whole_files_follows_from_later_rows_and_is_no_leak(of_files: Profile) -> None:
    cut = date(2024, 5, 15)
    altered = altered_source(readable_often(of_files), Truncated(cut), of_files.settings)
    told = [said_left_out(source, "fundamentals") for source in (of_files.source, altered)]
    assert told[0] != told[1]
    months: dict[str, Any] = {"first": "2024-03", "last": "2024-07", "cuts": [cut]}
    tests: tuple[TestName, ...] = ("truncation", "perturbation")
    result = audit_lookahead(of_files, sectors=["it"], assets=["fundamentals"], tests=tests, **months)
    assert [(each.asset, each.column) for each in result.failures] == []
    assert all(each.compared for each in result.comparisons)


def test_a_statement_that_is_published_on_the_day_of_a_cut_is_not_missed_below_it(of_files: Profile) -> None:
    """It may be used from the next day on, so the files that end at the cut are without it."""
    months = {"first": "2024-03", "last": "2024-07"}
    asked = audit_provider(of_files, sectors=["it"], **months)
    cuts = sorted({each.cut for each in asked.comparisons if each.cut})
    rows = [f"A,2023-{month:02}-28,{cut},{month}" for month, cut in zip((3, 6, 9, 12), cuts, strict=True)]
    assert of_files.data_dir is not None
    (of_files.data_dir / "statements.csv").write_text("\n".join([TABLES["statements"][0], *rows]), encoding="utf-8")
    result = audit_provider(Profile(of_files.settings), sectors=["it"], **months)
    assert [(each.asset, each.key, each.found) for each in result.failures] == []
    assert [each.compared for each in result.comparisons if each.asset == "fundamentals"] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_provider_of_the_users_own_reads_what_it_likes_and_an_asset_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "factor.txt"
    file.write_text("1.5", encoding="utf-8")
    monkeypatch.setenv(FILE, str(file))
    settings = small("2022-12", **UNTRAINED)
    own = WithOwnFile(settings.demo, month_start("2022-12"))
    own.file = file
    assets = ("macro", "labels")
    result = audited(monkeypatch, Profile(settings, own), [], SECTOR, *assets, last="2023-12")
    assert [each.cause for each in result.failures] == []
    (note,) = result.notes
    assert f"the provider uses {file}" in note
    spoiled = audited(monkeypatch, Profile(settings, own), ["file read by Python"], SECTOR, *assets, last="2023-12")
    assert [(each.asset, each.key) for each in spoiled.failures] == [("labels", str(file))]
