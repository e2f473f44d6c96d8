"""The leak of the stock Transformer to plant in the real code; its graph is that of `assets/test_transformer.py`."""

from datetime import date

import pytest

from quant_assets.learning.transformer import inputs
from quant_assets.market.panel import FloatArray, Panel
from quant_assets_tests.audit.leaks import leak


@leak(
    "windows of bars divided by maxima of later sessions",
    "truncation",
    "predictions",
    first="2024-01",
    last="2024-01",
    cut=date(2024, 1, 16),
    reach=1,
)
def _(patch: pytest.MonkeyPatch) -> None:
    def full_sample(panel: Panel, *_: object) -> FloatArray:
        return inputs.full_sample_maximum(panel)

    # Published checkpoints were trained so; whoever takes it for the running maximum looks ahead.
    patch.setattr("quant_assets.learning.transformer.windows.running_maximum", full_sample)
