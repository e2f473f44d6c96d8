"""The summary of a run: warnings of checks with their remedy, and the next command."""

from pathlib import Path

import pytest

from quant_assets.cli.summary import following, written
from quant_assets.profile import Profile
from quant_assets.running.tally import Tally, Warned
from quant_assets.settings.loading import load_settings

REMEDY = "Remedy: give it more rows or features, or weights the baseline (weights.model)"


def line(said: str) -> str:
    tally = Tally(warnings={("lightgbm_checkpoint", "beats_baseline"): Warned(1, said)})
    tally.partitions["lightgbm_checkpoint"] = 1
    return list(written(tally))[-1].removeprefix("  lightgbm_checkpoint, beats_baseline: ")


def test_a_short_warning_is_whole() -> None:
    assert line(f"it 2022-12-30 xgboost: rank IC 0.097.\n{REMEDY}") == f"it 2022-12-30 xgboost: rank IC 0.097. {REMEDY}"


@pytest.mark.parametrize("models", [8, 80])
def test_a_long_warning_keeps_its_beginning_and_its_remedy(models: int) -> None:
    said = "; ".join(f"it 2022-12-30 model_{n}: rank IC 0.0{n}, the baseline's 0.123" for n in range(models))
    found = line(f"{said}. {REMEDY}")
    assert found.startswith("it 2022-12-30 model_0: rank IC 0.00, the baseline's 0.123; it 2022-12-30 model_1")
    assert found.endswith(f" … {REMEDY}")
    assert len(found) <= 360


def test_a_long_sentence_keeps_both_ends() -> None:
    found = line("first " + 200 * "word " + "last")
    assert found.startswith("first word word")
    assert " … " in found
    assert found.endswith("word word last")
    assert len(found) <= 360


def test_the_next_command_shows_what_is_stored(tmp_path: Path) -> None:
    profile = Profile(load_settings("demo", storage=str(tmp_path)))

    def next_line() -> str:
        return list(following(profile, ["it", "energy"], "2024-06"))[-1]

    assert next_line() == "next: quant status -p demo"
    for name, commands in (("candidates", "candidates"), ("weights", "picks")):
        dataset = profile.datasets[name]
        profile.store.write(dataset, dataset.empty(), ["2024-06|it"])
        assert next_line() == f"next: quant {commands} -p demo -s it -m 2024-06"
