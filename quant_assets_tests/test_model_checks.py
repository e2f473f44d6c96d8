"""The checks of trained models: they warn, block nothing, and say which model and what to do."""

from pathlib import Path

import dagster as dg
import pytest

from quant_assets.model_checks import model_checks
from quant_assets.profile import Profile
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.loading import load_settings
from quant_assets_tests.learning.test_gate import LATE, rows


@pytest.mark.parametrize(("bound", "failed"), [(0.1, {"plausible_ic", "beats_baseline"}), (0.6, {"beats_baseline"})])
def test_a_model_that_is_too_good_or_beaten_is_a_warning(tmp_path: Path, bound: float, failed: set[str]) -> None:
    settings = load_settings("demo", storage=str(tmp_path), as_of=LATE, promotion={"max_daily_ic": bound})
    profile, key = Profile(settings), "2024-06|it"
    trained = rows(
        ("it", LATE, 5, "line", "linear", 0.03),
        ("it", LATE, 5, "trees", "lightgbm", 0.25),
        ("it", LATE, 5, "woods", "random_forest", 0.02),
    )
    dataset = profile.datasets[CHECKPOINTS.name]

    @dg.asset(
        name=dataset.name, partitions_def=profile.months.by_sector, backfill_policy=dg.BackfillPolicy.single_run()
    )
    def checkpoints() -> None:
        profile.store.write(dataset, trained, [key])

    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = dg.materialize([checkpoints, *model_checks(profile)], partition_key=key, run_config=quiet)
    assert result.success
    found = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert set(found) == {"plausible_ic", "beats_baseline"}
    assert {name for name, each in found.items() if not each.passed} == failed
    assert {each.severity for each in found.values()} == {dg.AssetCheckSeverity.WARN}
    said = str(found["beats_baseline"].description)
    assert said.startswith("it 2024-06-28 woods, 5 sessions: rank IC 0.020, the baseline's 0.030. Remedy: ")
    promoted = found["beats_baseline"].metadata["promoted"].value
    if bound < 0.25:
        assert str(found["plausible_ic"].description).startswith("it 2024-06-28 trees, 5 sessions: daily IC 0.250 over")
    assert promoted == (1 if bound < 0.25 else 2)


def test_models_of_another_dataset_are_held_against_the_same_baseline(tmp_path: Path) -> None:
    models = {"lightgbm": {"kind": "lightgbm"}, "deep": {"kind": "transformer"}}
    profile = Profile(load_settings("demo", storage=str(tmp_path), as_of=LATE, models=models))
    key, own, other = "2024-06|it", profile.datasets["transformer_checkpoint"], profile.datasets[CHECKPOINTS.name]
    beside = rows(("it", LATE, 5, "line", "linear", 0.03), ("it", LATE, 5, "trees", "lightgbm", 0.01))
    found = dict[str, dict[str, dg.AssetCheckEvaluation]]()
    for stored in (False, True):
        if stored:
            profile.store.write(other, beside, [key])

        @dg.asset(
            name=own.name, partitions_def=profile.months.by_sector, backfill_policy=dg.BackfillPolicy.single_run()
        )
        def checkpoints() -> None:
            profile.store.write(own, rows(("it", LATE, 5, "deep", "transformer", 0.02)), [key])

        checks = [
            each
            for each in model_checks(profile)
            if {spec.asset_key.path[-1] for spec in each.check_specs} == {own.name}
        ]
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        result = dg.materialize([checkpoints, *checks], partition_key=key, run_config=quiet)
        found[str(stored)] = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert found["False"]["beats_baseline"].passed, "there is none to hold it against"
    said = str(found["True"]["beats_baseline"].description)
    assert said.startswith("it 2024-06-28 deep, 5 sessions: rank IC 0.020, the baseline's 0.030. Remedy")
    assert found["True"]["beats_baseline"].metadata["models"].value == 1, "those of the other dataset are its own"
