"""The kind `transformer`: learns from windows of bars, repeats, forecasts row by row, and refuses what it may not."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import DatasetError, HistoryError, ModelFileError, SettingsError
from quant_assets.learning.deep.training_context import training_at
from quant_assets.learning.models.base import FittedModel
from quant_assets.learning.models.transformer import FineTuned, Transformer
from quant_assets.learning.rows import Rows
from quant_assets.learning.transformer.parameters import Encoder
from quant_assets.learning.transformer.pretraining import pretrained
from quant_assets.learning.transformer.published import Manifest
from quant_assets_tests.synthetic_windows import prices, rows

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_heads": 2,
    "days": 16,
    "maximum_sessions": 60,
    "max_epochs": 4,
    "batch_units": 8,
    "learning_rate": 0.005,
    "pretraining": {"max_epochs": 2, "window_months": 12},
}
SPANS = (
    (date(2019, 1, 2), date(2020, 6, 30)),
    (date(2020, 8, 3), date(2020, 12, 24)),
    (date(2021, 2, 1), date(2021, 6, 30)),
)


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return prices()


@pytest.fixture(scope="module")
def parts(bars: pl.DataFrame) -> tuple[Rows, Rows, Rows]:
    return tuple(rows(bars, first, last, every=2) for first, last in SPANS)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def model(parts: tuple[Rows, Rows, Rows]) -> FittedModel:
    return Transformer("t", SMALL).fit(parts[0], parts[1], 3)


def test_what_the_windows_tell_is_learned(model: FittedModel, parts: tuple[Rows, Rows, Rows]) -> None:
    later = parts[2]
    found = model.predict(later).mean
    assert found.shape == later.targets.shape
    for forecast, target in zip(found.T, later.targets.T, strict=True):
        assert np.corrcoef(forecast, target)[0, 1] > 0.3
    assert 0.1 < found.std() / later.targets.std() < 2.0, "returns, not prices"


def test_a_constant_factor_on_a_names_prices_changes_no_forecast(model: FittedModel, bars: pl.DataFrame) -> None:
    factor = 1.0 + pl.col("ticker").str.slice(1).cast(pl.Float64)
    scaled = bars.with_columns(pl.col("open", "high", "low", "close") * factor)
    before, after = (model.predict(rows(each, *SPANS[2])).mean for each in (bars, scaled))
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_a_row_alone_and_in_any_company_gives_the_same_bits(model: FittedModel, parts: tuple[Rows, Rows, Rows]) -> None:
    later = parts[2]
    many, order = model.predict(later), np.random.default_rng(3).permutation(len(later))
    assert model.predict(later.where(order)).mean.tobytes() == many.mean[order].tobytes()
    for number in (0, 41, len(later) - 1):
        assert (
            model.predict(later.where(np.arange(len(later)) == number)).mean.tobytes() == many.mean[[number]].tobytes()
        )


def test_nothing_later_and_nothing_older_than_it_says_changes_a_forecast(
    model: FittedModel, bars: pl.DataFrame
) -> None:
    first, last = SPANS[2]
    whole = model.predict(rows(bars, first, last, back=model.bar_sessions)).mean
    asked = rows(bars, first, last, back=model.bar_sessions)
    cut = bars.filter(pl.col("date") <= date(2021, 3, 31))
    early = rows(bars, first, date(2021, 3, 31), back=model.bar_sessions)
    sooner = replace(early, bars=rows(cut, first, date(2021, 3, 31), back=model.bar_sessions).bars)
    known = asked.dates <= np.datetime64("2021-03-31")
    assert model.predict(sooner).mean.tobytes() == whole[known].tobytes()
    deeper = rows(bars, first, last, back=model.bar_sessions + 200)
    assert model.predict(deeper).mean.tobytes() == whole.tobytes()


def test_it_repeats_to_the_bit_on_the_cpu_and_in_another_process(
    model: FittedModel, parts: tuple[Rows, Rows, Rows], tmp_path: Path
) -> None:
    again = Transformer("t", SMALL).fit(parts[0], parts[1], 3)
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    model.write(tmp_path / "one")
    again.write(tmp_path / "other")
    for each in ("weights.safetensors", "transformer.json"):
        assert (tmp_path / "one" / each).read_bytes() == (tmp_path / "other" / each).read_bytes()
    code = (
        "import sys, numpy as np; from pathlib import Path; from datetime import date;"
        "from quant_assets.learning.models.transformer import Transformer;"
        "from quant_assets_tests.synthetic_windows import prices, rows;"
        "model = Transformer('there').read(Path(sys.argv[1]), (5, 20));"
        f"asked = rows(prices(), date.fromisoformat('{SPANS[2][0]}'), date.fromisoformat('{SPANS[2][1]}'), every=2);"
        "np.save(sys.argv[1] + '/mean.npy', model.predict(asked).mean);"
        "print([name for name in sys.modules if name.split('.')[0] in ('lightning', 'dagster')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "one")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]", "who asks a model needs no Lightning"
    assert np.load(tmp_path / "one" / "mean.npy").tobytes() == model.predict(parts[2]).mean.tobytes()
    assert Transformer("t").read(tmp_path / "one", (5, 20)).get_model_info() == model.get_model_info()


def test_rows_without_a_whole_window_are_not_usable_and_never_padded(model: FittedModel, bars: pl.DataFrame) -> None:
    first, last = SPANS[2]
    stopped = bars.filter(
        (pl.col("ticker") != "T03") | (pl.col("date") < date(2021, 1, 4)) | (pl.col("date") >= date(2021, 4, 1))
    )
    jumped = stopped.with_columns(unexplained=(pl.col("ticker") == "T04") & (pl.col("date") == date(2021, 3, 1)))
    asked = rows(bars, first, last)
    asked = replace(asked, bars=rows(jumped, first, last).bars)
    usable = model.usable(asked)
    of = {name: asked.tickers == name for name in ("T03", "T04", "T05")}
    assert usable[of["T05"]].all()
    begins = asked.dates[of["T03"] & usable].min()
    assert begins == np.datetime64("2021-05-26"), "15 of 16 sessions, whose means of 30 have 25 of them"
    gone = asked.dates[of["T04"] & ~usable]
    assert gone.min() == np.datetime64("2021-03-01")
    assert len(gone) == 16 + 34, "as many sessions as a window's values follow from"
    with pytest.raises(DatasetError, match=r"T0[34] has no window of 16 sessions up to 2021"):
        model.predict(asked)
    assert np.isfinite(model.predict(asked.where(usable)).mean).all()
    with pytest.raises(DatasetError, match=r"the rows have no bars; pass Rows\.bars"):
        model.predict(replace(asked, bars=None))


def test_a_session_that_it_knows_is_not_forecast(
    model: FittedModel, parts: tuple[Rows, Rows, Rows], tmp_path: Path
) -> None:
    assert isinstance(model, FineTuned)
    validated = parts[1].dates.max().item()
    assert model.about.trained_through > validated, "outcomes of the last rows are known later than these"
    for known in parts[:2]:
        with pytest.raises(HistoryError, match=f"the network knows sessions through {model.about.trained_through}"):
            model.predict(known)
    model.write(tmp_path)
    about = json.loads((tmp_path / "transformer.json").read_text())
    (tmp_path / "transformer.json").write_text(json.dumps(about | {"stage": "encoder"}))
    with pytest.raises(DatasetError, match="not of stage fine_tuned for"):
        Transformer("t").read(tmp_path, (5, 20))


def test_what_became_known_last_is_the_last_session_that_it_knows(parts: tuple[Rows, Rows, Rows]) -> None:
    few, held = parts[0].where(np.arange(len(parts[0])) < 240), parts[1].where(np.arange(len(parts[1])) < 60)
    assert few.known_at is not None
    late = few.known_at.copy()
    late[5] = np.datetime64("2021-01-19")  # a delisted name whose proceeds were told late
    learner = Transformer("t", SMALL | {"max_epochs": 1})
    fitted = learner.fit(replace(few, known_at=late), held, 3)
    assert isinstance(fitted, FineTuned)
    assert fitted.about.trained_through == date(2021, 1, 19)
    usual = learner.fit(few, held, 3)
    assert isinstance(usual, FineTuned)
    assert held.known_at is not None
    assert usual.about.trained_through == held.known_at.max().item(), "entry a session later, then 20 to the exit"
    with pytest.raises(DatasetError, match=r"pass Rows\.known_at"):
        learner.fit(few, replace(held, known_at=None), 3)


@pytest.mark.parametrize(
    ("weights", "said"), [({"stok": 1.0}, "stok"), ({"stock": -1.0}, "stock"), ({"stock": 0.0}, "no task has a weight")]
)
def test_a_task_that_there_is_not_and_weights_that_are_none_are_settings_errors(
    weights: dict[str, float], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        Transformer("t", SMALL | {"pretraining": {"weights": weights}})


def test_a_manifest_says_stage_span_normalisation_and_target(model: FittedModel) -> None:
    told = model.get_model_info()
    assert (told["stage"], told["normalisation"], told["target"]) == (
        "fine_tuned",
        "running_maximum",
        ["forward_return_5", "forward_return_20"],
    )
    assert told["trained_from"] == SPANS[0][0].isoformat()
    assert told["best_epoch"] <= told["epochs"] <= SMALL["max_epochs"]


# --- Pre-training -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def market(bars: pl.DataFrame) -> pl.DataFrame:
    place = pl.col("ticker").str.slice(1).cast(pl.Int64)
    return bars.with_columns(sector=pl.when(place < 6).then(pl.lit("it")).otherwise(pl.lit("energy")))


def encoder(market: pl.DataFrame, as_of: date, folder: Path, **changed: Any) -> Encoder:
    found = pretrained(market, as_of, Transformer("t", SMALL | changed).parameters, 7, "t")
    assert found.content is not None
    assert found.manifest is not None
    folder.mkdir(exist_ok=True)
    (folder / "encoder.ckpt").write_bytes(found.content)
    return Encoder(path=str(folder / "encoder.ckpt"), manifest=found.manifest)


def test_an_encoder_knows_nothing_later_and_says_what_it_is(market: pl.DataFrame, tmp_path: Path) -> None:
    as_of = date(2020, 6, 30)
    given = [market, market.filter(pl.col("date") <= as_of)]
    one, other = (encoder(each, as_of, tmp_path / str(number)) for number, each in enumerate(given))
    assert one.manifest == other.manifest, "byte by byte the same, whatever came later"
    manifest = one.manifest
    assert (manifest.stage, manifest.target, manifest.normalisation) == ("encoder", None, "running_maximum")
    assert manifest.trained_through == as_of
    assert manifest.architecture.pretrain_classes == {"stock": 12, "sector": 2, "mask_avg_price": 1}
    found = pretrained(market, as_of, Transformer("t", SMALL).parameters, 7, "t")
    assert found.facts["last_date"] <= as_of
    assert (found.facts["tickers"], found.facts["sectors"], found.facts["epochs"]) == (12, 2, 2)
    nothing = pretrained(market, date(2018, 3, 1), Transformer("t", SMALL).parameters, 7, "t")
    assert nothing.content is None


def test_a_fit_begins_from_an_encoder_and_a_slice_it_knows_is_judged_without(
    market: pl.DataFrame, bars: pl.DataFrame, parts: tuple[Rows, Rows, Rows], tmp_path: Path
) -> None:
    given = encoder(market, date(2020, 12, 31), tmp_path)
    learner = Transformer("t", SMALL | {"learning_rate": 1e-9, "max_epochs": 1}).beginning_from(given)
    fitted = learner.fit(parts[0], parts[1], 3)
    assert isinstance(fitted, FineTuned)
    import torch

    weights = torch.load(given.path, weights_only=True)
    own = fitted.network.state_dict()
    taken = [name for name in own if not name.startswith("fc.")]
    assert len(taken) == 27
    for name in taken:
        torch.testing.assert_close(own[name], weights[name], atol=1e-5, rtol=0)
    assert fitted.about.encoder == (given.manifest.version, date(2020, 12, 31))
    assert learner.unknowing(date(2020, 12, 31)).parameters.encoder is None
    assert learner.unknowing(date(2021, 1, 4)) is learner
    assert "path" not in learner.recorded()["encoder"]
    late = learner.beginning_from(encoder(market, date(2021, 6, 30), tmp_path / "late")).fit(parts[0], parts[1], 3)
    with pytest.raises(HistoryError, match="knows sessions through 2021-06-30"):
        late.predict(parts[2])


def test_another_shape_or_a_changed_file_is_refused(
    market: pl.DataFrame, parts: tuple[Rows, Rows, Rows], tmp_path: Path
) -> None:
    given = encoder(market, date(2020, 6, 30), tmp_path)
    with pytest.raises(SettingsError, match=r"has hidden_size 16, the model's parameters say 32"):
        Transformer("t", SMALL | {"hidden_size": 32}).beginning_from(given).fit(parts[0], parts[1], 3)
    Path(given.path).write_bytes(b"else")
    with pytest.raises(ModelFileError, match="nothing was read"):
        Transformer("t", SMALL).beginning_from(given).fit(parts[0], parts[1], 3)
    with pytest.raises(SettingsError, match="not a multiple of num_heads"):
        Transformer("t", {"hidden_size": 30, "num_heads": 4})


def test_a_killed_fit_goes_on_under_the_digest_of_what_decides_it(
    parts: tuple[Rows, Rows, Rows], tmp_path: Path, model: FittedModel
) -> None:
    lines: list[str] = []
    learner = Transformer("t", SMALL)
    with training_at(tmp_path, lines.append):
        learner.fit(parts[0], parts[1], 3)
        assert len(list(tmp_path.iterdir())) == 1
        again = learner.fit(parts[0], parts[1], 3)
        assert any("resumes after epoch" in line for line in lines)
        learner.fit(parts[0], parts[1], 4)
        other = replace(parts[0], targets=parts[0].targets + 1e-3 * parts[0].targets ** 2)
        learner.fit(other, parts[1], 3)
    assert len(list(tmp_path.iterdir())) == 3, "another seed or other rows are another training"
    assert again.predict(parts[2]).mean.tobytes() == model.predict(parts[2]).mean.tobytes()


def test_the_published_manifest_is_the_default_of_an_encoder() -> None:
    assert (
        Encoder(path="x").manifest.version == Manifest.model_validate(Encoder(path="x").manifest.model_dump()).version
    )
