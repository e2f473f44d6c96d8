"""Frames of a report: a made-up sector's, and those of one in which nothing has happened yet."""

from collections.abc import Callable

import pytest

from quant_assets.reporting.report_data import ReportFrames
from quant_assets.schemas import DATASETS
from quant_assets_tests.synthetic_report import build_frames


@pytest.fixture(scope="session")
def make_frames() -> Callable[..., ReportFrames]:
    return build_frames


@pytest.fixture(scope="session")
def frames() -> ReportFrames:
    return build_frames()


@pytest.fixture(scope="session")
def empty_frames() -> ReportFrames:
    """Nothing has happened yet in this sector."""
    names = (
        "candidates",
        "weights",
        "backtest",
        "predictions",
        "labels",
        "regime_state",
        "lightgbm_checkpoint",
        "quarantine",
        "absences",
        "universe_coverage",
        "track_record",
        "price_events",
    )
    versions = DATASETS["predictions"].empty().select("date", "model", "model_version", "horizon")
    return ReportFrames(*(DATASETS[name].empty() for name in names), versions)
