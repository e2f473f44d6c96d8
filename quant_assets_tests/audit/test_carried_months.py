"""The month before an audit's first is computed where an asset carries its own, and only there."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from quant_assets.audit.altered_runs import Stretch
from quant_assets.audit.carried_months import first_computed
from quant_assets.audit.runs import Recomputed
from quant_assets.settings.loading import load_settings
from quant_assets_tests.graph import SMALL

CAPPED = {"weights": {"constraints": {"max_turnover": 0.3}}}
UPDATED = {"models": SMALL["models"] | {"linear": {"kind": "linear", "update": True}, "lightgbm": None}}
UPDATED |= {"weights": {"model": "linear"}}


@pytest.mark.parametrize(
    ("more", "names", "first", "expected"),
    [
        pytest.param(CAPPED, ["weights"], "2023-11", "2023-10", id="weights from what was held"),
        pytest.param({}, ["weights"], "2023-11", "2023-11", id="weights of their own session"),
        pytest.param({}, ["track_record"], "2023-11", "2023-10", id="track record"),
        pytest.param(CAPPED, ["weights", "backtest"], "2023-11", "2023-11", id="a warm-up of others"),
        pytest.param(CAPPED, ["weights"], "2023-03", "2023-03", id="first month of the profile"),
        pytest.param(UPDATED, ["lightgbm_checkpoint"], "2023-12", "2023-09", id="updated models, from their training"),
        pytest.param(UPDATED, ["lightgbm_checkpoint"], "2023-05", "2023-03", id="updated models, without a training"),
    ],
)
def test_where_it_begins(more: dict[str, Any], names: list[str], first: str, expected: str, tmp_path: Path) -> None:
    settings = load_settings("demo", **(SMALL | more), as_of=date(2024, 12, 13), partitions={"start": "2023-03"})
    base = Recomputed.at(tmp_path, settings, None)
    assert first_computed(base, Stretch(first, "2023-12"), names, ["cons_staples"]) == expected
