"""The reference pages are those of the code, and leave nothing without a meaning."""

import pytest

from quant_assets.documentation.commands import commands_page
from quant_assets.documentation.markdown import table, text
from quant_assets.documentation.reference import PAGES
from quant_assets.documentation.settings import groups
from quant_assets_tests.graph import PROJECT


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_is_that_of_the_code(name: str) -> None:
    assert (PROJECT / "docs" / "reference" / name).read_text(encoding="utf-8") == PAGES[name](), "run make docs"


def test_every_setting_has_a_meaning_and_a_default_as_files_write_it() -> None:
    found = {each.path: each for group in groups() for each in group.settings}
    assert [path for path, each in found.items() if not each.meaning] == [], "add it to Attributes of its model"
    fraction = found["candidates.long_fraction"]
    assert fraction.variable == "QUANT__CANDIDATES__LONG_FRACTION"
    assert (fraction.kind, fraction.default) == ("number > 0, ≤ 0.5", "`0.15`")
    assert found["indicators.windows.<name>.moving_average"].default == "required"
    assert found["regime.markov.emissions"].default == "`student_t`", "what conf/base.yaml says wins over the code"
    assert found["profile"].variable == "QUANT_PROFILE"
    assert found["files.prices[].file"].variable == "", "an entry of a list has no variable of its own"


def test_a_default_that_depends_on_the_machine_is_told_in_words() -> None:
    (workers,) = {
        line for line in commands_page().splitlines() if line.startswith("| `--workers`") and "computed" in line
    }
    assert workers == "| `--workers`, `-w` | number | number of cores | Sectors computed in parallel. |"


def test_a_group_that_is_also_a_command_has_its_own_section() -> None:
    headings = [line for line in commands_page().splitlines() if line.startswith("## ")]
    position = headings.index("## quant collect")
    assert headings[position + 1] == "## quant collect replay"
    assert "## quant audit" not in headings, "it does nothing without a subcommand"


def test_signs_of_markdown_and_html_are_shown_as_they_are() -> None:
    assert text("a < b, [c] and *d*,\n  but `e|<f>`") == r"a &lt; b, \[c\] and \*d\*, but `e|<f>`"
    assert table(("x",), [("a|b",)]).splitlines()[-1] == r"| a\|b |"
