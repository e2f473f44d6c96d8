"""What docs/audit.md claims of planted leaks is what the tests plant."""

from quant_assets_tests.audit.leak_table import PAGE, every_leak, table, written


def test_the_page_has_every_kind_with_its_number_and_no_other() -> None:
    said = written(PAGE.read_text(encoding="utf-8"))
    assert said == table(), "python -m quant_assets_tests.audit.leak_table writes the table"


def test_every_leak_is_planted_by_a_function_of_its_own() -> None:
    leaks = every_leak()
    assert len({leak.plant for leak in leaks}) == len(leaks)
