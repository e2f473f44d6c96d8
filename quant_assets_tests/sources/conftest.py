"""The files source over small files in a folder of the test."""

from functools import partial
from pathlib import Path

import pytest

from quant_assets_tests.synthetic_files import Write, write_files


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the tables, with changes, and open them."""
    return partial(write_files, tmp_path)
