"""Leaks planted in the real code one at a time: the audit sees each by the kind of test that is named, and raises no
false alarm."""

import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from quant_assets.assets import portfolio as portfolio_wiring
from quant_assets.assets import signals as signal_wiring
from quant_assets.audit.datasets import compute
from quant_assets.audit.execution import audit_execution
from quant_assets.audit.findings import AuditResult, Comparison, TestName
from quant_assets.audit.learning_controls import controls
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.audit.runs import Recomputed
from quant_assets.settings.loading import Settings, load_settings
from quant_assets_tests.audit import leaks, leaks_elsewhere, leaks_held_out, leaks_of_risk
from quant_assets_tests.audit.leaks import Leak, spoil_rows
from quant_assets_tests.graph import PROJECT, SMALL

SECTOR = "cons_staples"
#: Of these modules alone, whichever others this process has loaded.
MODULES = {module.__name__ for module in (leaks, leaks_elsewhere, leaks_held_out, leaks_of_risk)}
PLANTED = [leak for leak in leaks.LEAKS.values() if leak.plant.__module__ in MODULES]
LEARNING = [leak for leak in PLANTED if leak.test == "learning"]
EXECUTION = [leak for leak in PLANTED if leak.test == "execution"]
ALTERING = [leak for leak in PLANTED if leak not in LEARNING + EXECUTION]

#: Models are trained only where a leak of learning is looked for.
UNTRAINED = {"training": SMALL["training"] | {"min_rows": 1_000_000}}


def small(start: str, **more: Any) -> Settings:
    """Short windows, one horizon."""
    given = {**SMALL, "labels": {"horizons": (20,)}, **more}
    return load_settings("demo", **given, as_of=date(2024, 12, 13), partitions={"start": start})


def found(result: AuditResult | Sequence[Comparison], test: TestName, asset: str) -> list[Comparison]:
    comparisons = result.comparisons if isinstance(result, AuditResult) else result
    return [each for each in comparisons if each.failed and each.test == test and each.asset == asset]


def named(planted: Sequence[Leak]) -> Any:
    return pytest.mark.parametrize("leak", planted, ids=lambda leak: leak.name)


def test_there_are_leaks_of_every_kind() -> None:
    assert len(PLANTED) >= 57
    assert {leak.test for leak in PLANTED} == {
        "truncation",
        "perturbation",
        "publication",
        "warm_up",
        "order",
        "company",
        "learning",
        "execution",
    }


@pytest.mark.slow
@named(ALTERING)
def test_a_leak_is_seen_by_altering_the_inputs(leak: Leak, monkeypatch: pytest.MonkeyPatch) -> None:
    leak.plant(monkeypatch)
    more = {} if leak.asset in ("lightgbm_checkpoint", "predictions", "backtest") else UNTRAINED
    tests = (*leak.with_tests, leak.test)
    result = audit_lookahead(
        small(leak.start, **more),
        sectors=[SECTOR],
        first=leak.first,
        last=leak.last,
        assets=[leak.asset],
        tests=tests,
        cuts=[leak.cut],
        reach=leak.reach,
        diagnosed=False,
    )
    caught = found(result, leak.test, leak.asset)
    assert caught, f"{leak.test} saw nothing; notes: {result.notes}"
    assert all(each.cause and each.compared for each in caught)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Recomputed:
    """Features and labels of a training in December 2023 and of the month after."""
    base = Recomputed.at(tmp_path_factory.mktemp("labelled"), small("2022-12"), None)
    compute(base, ["features", "labels"], SECTOR, "2023-03", "2024-01")
    return base


def trained(base: Recomputed, folder: Path) -> tuple[list[Comparison], list[str]]:
    return controls(base, SECTOR, "2023-12", folder)


@pytest.mark.slow
@named(LEARNING)
def test_a_leak_is_seen_in_the_rows_that_training_used(
    leak: Leak, labelled: Recomputed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak.plant(monkeypatch)
    comparisons, _ = trained(labelled, tmp_path)
    caught = found(comparisons, leak.test, leak.asset)
    assert caught
    assert all(each.cause and each.first_date is not None for each in caught)


@pytest.mark.slow
@named(EXECUTION)
def test_a_leak_is_seen_in_what_is_traded(leak: Leak, monkeypatch: pytest.MonkeyPatch) -> None:
    leak.plant(monkeypatch)
    result = audit_execution(small("2022-12"), sectors=[SECTOR], first="2023-04", last="2023-05")
    assert {each.column for each in found(result, leak.test, leak.asset)} >= {"turnover", "net_return"}
    assert found(result, leak.test, "portfolio_backtest")


# --- A user's own -----------------------------------------------------------------------------------------------------

RANK_OVER_ALL_DATES = """
import numpy as np
from quant_assets.features.cross_section import CrossSection


def over_all_dates(values, among):
    flat = values.ravel()
    ranks = np.full(flat.shape, np.nan)
    seen = ~np.isnan(flat)
    ranks[seen] = flat[seen].argsort().argsort() / seen.sum()
    return ranks.reshape(values.shape)


FEATURES = [CrossSection("return_20_ranked", ("return_20",), 0, over_all_dates, "rank of return_20", ge=0, le=1)]
"""


@pytest.mark.slow
def test_rank_over_all_dates_in_a_module_of_the_users_own_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PROJECT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "my_features.py").write_text(RANK_OVER_ALL_DATES, encoding="utf-8")
    base = yaml.safe_load((PROJECT / "conf" / "base.yaml").read_text(encoding="utf-8"))
    (tmp_path / "conf" / "base.yaml").write_text(
        yaml.safe_dump(base | {"features": {"modules": ["my_features"]}}), encoding="utf-8"
    )
    monkeypatch.setenv("QUANT_CONF_DIR", str(tmp_path / "conf"))
    window: dict[str, Any] = {"first": "2023-10", "last": "2023-12", "cuts": [date(2023, 11, 15)]}
    result = audit_lookahead(small("2022-12"), sectors=[SECTOR], assets=["features"], tests=["perturbation"], **window)
    assert {each.column for each in found(result, "perturbation", "features")} == {"return_20_ranked"}


# --- No alarm ---------------------------------------------------------------------------------------------------------

EVERY_TEST: tuple[TestName, ...] = ("truncation", "perturbation", "publication", "warm_up", "order", "company")


def innocent(patch: pytest.MonkeyPatch) -> None:
    """Changes that look at nothing later."""
    spoil_rows(
        patch,
        signal_wiring,
        "compute_features",
        return_5=pl.col("return_5").shift(0).over("ticker") * 2.0,
        return_1=pl.col("return_1").clip(-0.1, 0.1),
    )
    spoil_rows(patch, signal_wiring, "compute_labels", forward_return=pl.col("forward_return").clip(-0.5, 0.5))
    spoil_rows(patch, portfolio_wiring, "judge_regime", volatility=2.0 * pl.col("volatility"))


# Innocent changes of every kind are planted in `test_innocents`.
@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [lambda patch: None, pytest.param(innocent, marks=pytest.mark.nightly)],
    ids=["nothing planted", "an innocent change"],
)
def test_without_a_leak_there_is_no_alarm(
    plant: Any, labelled: Recomputed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    audited = sorted({leak.asset for leak in ALTERING} - {"predictions", "lightgbm_checkpoint", "backtest"})
    result = audit_lookahead(
        small("2022-12", **UNTRAINED),
        sectors=[SECTOR],
        first="2023-10",
        last="2023-12",
        assets=audited,
        tests=EVERY_TEST,
        cuts=[date(2023, 11, 15)],
    )
    assert [each for each in result.comparisons if each.failed] == []
    compared = {name: sum(each.compared for each in result.comparisons if each.asset == name) for name in audited}
    assert min(compared.values()) > 0, compared


@pytest.mark.slow
def test_a_training_without_a_leak_raises_no_alarm(labelled: Recomputed, tmp_path: Path) -> None:
    comparisons, notes = trained(labelled, tmp_path)
    assert [each for each in comparisons if each.failed] == []
    assert notes == []
    assert {each.asset for each in comparisons} == {"lightgbm_checkpoint", "predictions"}
    assert len(comparisons) == 12
    assert min(each.compared for each in comparisons) >= 15
