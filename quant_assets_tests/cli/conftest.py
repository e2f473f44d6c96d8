"""The command in the process of the test."""

import pytest

from quant_assets_tests.command import Quant, call


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quant:
    """`quant` with arguments, under the variables of the test."""
    monkeypatch.setenv("QUANT_PROFILE", "demo")
    return lambda *arguments: call(monkeypatch, capsys, arguments)
