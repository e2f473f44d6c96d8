"""Versions of the real assets: the settings derived for each are those that it reads in a run, and a change reaches who
depends on it."""

import ast
import importlib
import shutil
import sys
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import polars as pl
import pytest

from quant_assets import trial_log
from quant_assets.asset_functions import Run, parameters
from quant_assets.assets import portfolio
from quant_assets.assets.declare import Asset, declared, read
from quant_assets.assets.trading import BOOK
from quant_assets.audit.reproduction import recompute
from quant_assets.dagster_internals import asset_function
from quant_assets.partitions import key
from quant_assets.profile import Profile
from quant_assets.provenance.code import IGNORED, register
from quant_assets.provenance.record import PartitionRecorder
from quant_assets.provenance.versions import _Walk
from quant_assets.settings.group import SettingsGroup
from quant_assets.settings.loading import Settings, load_settings
from quant_assets.settings.paths import WITHOUT_EFFECT
from quant_assets_tests.graph import PROJECT, Graph, every_definition

SECTOR, MONTH = "cons_staples", "2024-01"

#: Folders and modules whose functions run for every asset and decide no row, or whose content is compared by itself.
NOT_FOLLOWED = (
    *(f"{name.replace('.', '/')}." for name in IGNORED),
    *(f"{name}/" for name in IGNORED),
    "reporting/templates/",  # by the digest of their files
    "assets/declare.py",
    "asset_functions.py",
    "profile.py",
    "trial_log.py",
    "graph.py",
    "planning/",
    "running/",
)

#: Functions whose result is only shown beside the rows: `Run`'s, and those that are called in the argument of one.
TOLD = {
    "tell",
    "tell_run",
    "tell_each",
    "tell_rows",
    "tell_log",
    "tell_event",
    "tell_predictions",
    "tell_orders",
    "tell_sleeves",
    "tell_files",
    "reconciled",
    "refused",
    "marked",
    "described",
    "_shown",
    "_counted",
    "_without_scorer",
    "said_absent",
    # No row follows from what the log of trials is told.
    "note_training",
    "note_backtest",
    "tell_trainings",
}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def recorder(settings: Settings) -> PartitionRecorder:
    found: PartitionRecorder = (every_definition(settings).resources or {})["parquet"].recorder
    return found


def digests(settings: Settings, sector: str = "it") -> dict[str, tuple[str, str]]:
    found = recorder(settings)
    return {name: (version.code, found.settings_digest(name, sector)) for name, version in found.versions.items()}


def changed(before: Settings, after: Settings, sector: str = "it") -> set[str]:
    one, other = digests(before, sector), digests(after, sector)
    return {name for name in one if one[name] != other[name]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "names"),
    [
        ({"candidates": {"long_fraction": 0.3}}, {"candidates", "candidates_sql", "factor_statistics", "decisions"}),
        ({"report": {"history_months": 6}}, {"ops_report"}),
        ({"backtest": {"cost_bps": 5.0}}, {"backtest", "portfolio_backtest", "portfolio_attribution", "orders", *BOOK}),
        ({"indicators": {"windows": {"energy": {"moving_average": 44, "momentum_lag": 90}}}}, set()),
        ({"indicators": {"windows": {"it": {"moving_average": 26, "momentum_lag": 50}}}}, {"indicators"}),
        (
            {
                "storage": "elsewhere",
                "as_of": date(2024, 6, 28),
                "dagster": {"storage": "sqlite"},
                "data_dir": Path("elsewhere"),
            },
            set(),
        ),
    ],
    ids=["candidates", "report", "costs", "windows of another sector", "windows", "where things are"],
)
def test_a_setting_reaches_the_assets_that_depend_on_it(override: dict[str, Any], names: set[str]) -> None:
    found = changed(load_settings("demo"), load_settings("demo", **override))
    assert found - {"lookahead_audit"} == names
    # The audit computes the whole graph; of the windows of one sector's indicators it sees those of its own.
    assert ("lookahead_audit" in found) == bool(names)


def test_what_is_recorded_does_not_hang_on_what_parameters_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = ast.parse(Path(portfolio.__file__).read_text(encoding="utf-8"))
    inputs = {"sector", "weights", "prices", "delistings", "universe", "candidates", "predictions", "indicators"}
    inputs |= {"portfolio_weights", "regime_state"}
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        taken = {each.arg for each in function.args.args} - inputs
        for node in ast.walk(function):
            if isinstance(node, ast.arg) and node.arg in taken:
                node.arg = f"other_{node.arg}"
            elif isinstance(node, ast.Name) and node.id in taken:
                node.id = f"other_{node.id}"
    (tmp_path / "renamed_portfolio.py").write_text(ast.unparse(tree), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("renamed_portfolio")
    register("renamed_portfolio", tmp_path)
    settings = load_settings("demo")
    for name in ("regime_state", "weights", "backtest", "portfolio_weights", "portfolio_backtest"):
        ours, theirs = (_Walk.of(settings, getattr(each, name), {}) for each in (portfolio, module))
        assert list(parameters(getattr(module, name))) != list(parameters(getattr(portfolio, name)))
        assert (ours.paths, ours.reads_source, ours.reads_trials) == (theirs.paths, False, False), name
        assert {str(each) for each in ours.symbols if not str(each).startswith("assets.")} == {
            str(each) for each in theirs.symbols if not str(each).startswith(("assets.", "renamed_portfolio."))
        }, name


def test_an_asset_function_cannot_take_what_provenance_does_not_see() -> None:
    """Each parameter of each asset function stands for something that is recorded, or for where its rows lie."""
    assets = [asset_function(each).asset for each in every_definition(load_settings("demo")).assets or ()]
    assert len(assets) > 25
    for asset in assets:
        given = {name for name, each in parameters(asset.compute).items() if each.kind == "given"}
        assert given <= set(asset.given), asset.name
        assert not given or asset.follows, f"{asset.name} is given constants that no digest covers"
    shown = {name for name in vars(Run) if not name.startswith("_")}
    assert not shown & {"settings", "profile", "source", "features", "trials"}


def test_how_a_provider_is_made_belongs_to_what_it_gives() -> None:
    for name in ("universe", "ohlcv", "macro"):
        symbols = recorder(load_settings("demo")).versions[name].symbols
        assert {"sources.demo.DemoSource.__init__", "sources.demo.DemoSource.of"} <= symbols.keys(), name


def test_a_parameter_for_which_nothing_is_handed_over_is_refused() -> None:
    def misspelt(sector: str, universe: pl.DataFrame, window: int) -> pl.DataFrame:
        return universe.head(window)

    def unsaid(universe: pl.DataFrame, window: Annotated[int, "weights.horizon"]) -> pl.DataFrame:
        return universe.head(window)

    profile = Profile(load_settings("demo"))
    with pytest.raises(TypeError, match=r"'window' of .*misspelt has an annotation .* a Protocol of sources.base, Run"):
        declared(profile, "market", Asset("absences", misspelt, {"universe": read()}))
    assert declared(profile, "market", Asset("absences", misspelt, {"universe": read()}, given={"window": 2}))
    with pytest.raises(TypeError, match=r"'window' of .*unsaid is Annotated without its setting"):
        declared(profile, "market", Asset("absences", unsaid, {"universe": read()}))


def test_reports_alone_depend_on_what_has_been_tried() -> None:
    assert {name for name, version in recorder(load_settings("demo")).versions.items() if version.reads_trials} == {
        "ops_report"
    }


@pytest.mark.slow
def test_of_the_files_an_asset_depends_on_those_that_it_reads() -> None:
    settings = load_settings("files")
    macro = settings.files.macro[0].model_copy(
        update={"series": dict(list(settings.files.macro[0].series.items())[1:])}
    )
    without = settings.model_copy(update={"files": settings.files.model_copy(update={"macro": (macro,)})})
    assert changed(settings, without) == {"macro", "lookahead_audit"}  # the audit looks at everything
    events = settings.bars.events.model_copy(update={"jump": 0.3})
    stricter = settings.model_copy(update={"bars": settings.bars.model_copy(update={"events": events})})
    assert {"ohlcv", "price_events"} <= changed(settings, stricter)
    assert "universe" not in changed(settings, stricter)


@pytest.mark.slow
def test_an_own_feature_with_another_formula_under_the_same_name_is_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PROJECT / "conf", tmp_path / "conf")
    monkeypatch.setenv("QUANT_CONF_DIR", str(tmp_path / "conf"))
    file = tmp_path / "conf" / "one_feature.py"
    source = (
        "from quant_assets.windows.declarations import Feature\n"
        'FEATURES = [Feature("own_20", ("high", "low"), 19, '
        'lambda x, w: w.mean(x["high"] / x["low"], 20), "mean range")]\n'
    )
    settings = load_settings("demo", features={"modules": ["one_feature"]})
    found = {}
    for name, content in {
        "first": source,
        "remark": source + "# a remark\n",
        "formula": source.replace("w.mean", "w.highest"),
    }.items():
        file.write_text(content, encoding="utf-8")
        found[name] = recorder(settings).versions
    assert found["first"]["features"].code == found["remark"]["features"].code
    symbols = {name: versions["features"].symbols for name, versions in found.items()}
    assert {each for each in symbols["first"] if symbols["first"][each] != symbols["formula"][each]} == {
        "one_feature.FEATURES"
    }
    assert found["first"]["indicators"].code == found["formula"]["indicators"].code
    assert found["first"]["predictions"].code == found["formula"]["predictions"].code, (
        "it is stale by its inputs once they are other rows"
    )


@pytest.mark.slow
def test_an_edit_in_a_package_below_the_user_s_modules_is_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PROJECT / "conf", tmp_path / "conf")
    monkeypatch.setenv("QUANT_CONF_DIR", str(tmp_path / "conf"))
    monkeypatch.syspath_prepend(tmp_path / "conf")
    (tmp_path / "conf" / "own_parts").mkdir()
    below = tmp_path / "conf" / "own_parts" / "mean.py"
    below.write_text("SESSIONS = 20\n", encoding="utf-8")
    (tmp_path / "conf" / "feature_of_parts.py").write_text(
        "import own_parts.mean\nfrom quant_assets.windows.declarations import Feature\n"
        'FEATURES = [Feature("own_parts_20", ("high",), 29, '
        'lambda x, w: w.mean(x["high"], own_parts.mean.SESSIONS), "mean")]\n',
        encoding="utf-8",
    )
    settings = load_settings("demo", features={"modules": ["feature_of_parts"]})
    before = recorder(settings).versions["features"]
    assert "own_parts.mean.SESSIONS" in before.symbols
    assert recorder(settings).versions["features"].code == before.code
    below.write_text("SESSIONS = 200\n", encoding="utf-8")
    assert recorder(settings).versions["features"].code != before.code


def test_every_asset_reaches_the_domain_or_its_sql() -> None:
    for name, version in recorder(load_settings("files")).versions.items():
        assert any(not symbol.startswith(("assets.", "profile.")) for symbol in version.symbols), name


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """A sector's chain up to the weights, a month after the first models."""
    training = {
        "window_months": 6,
        "min_rows": 200,
        "cadence_months": 1,
    }
    models = {"lightgbm": {"parameters": {"min_data_in_leaf": 20, "num_trees": 5}}}
    settings = {
        "as_of": date(2024, 4, 30),
        "partitions": {"start": "2023-07"},
        "training": training,
        "models": models,
    }
    made = Graph.at(tmp_path_factory.mktemp("versions"), **settings)
    for phase in made.planner.plan(
        ["weights", "regime_state", "backtest", "ops_report"], [SECTOR], MONTH, MONTH
    ).phases:
        made.materialise(phase.assets, tags=phase.range_tags)
    return made


def groups(model: type[Any] = Settings, path: str = "") -> Iterator[tuple[type[Any], str]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, SettingsGroup):
            yield field.annotation, f"{path}{name}"
            yield from groups(field.annotation, f"{path}{name}.")


@pytest.mark.slow
def test_the_settings_that_an_asset_reads_when_it_runs_are_among_those_derived(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = recorder(graph.settings).versions
    job, known, read = graph.defs.resolve_implicit_global_asset_job_def(), dict(groups()), set[str]()
    given = SettingsGroup.__getattribute__

    def noted(self: SettingsGroup, name: str) -> Any:
        # The trial log notes settings from which no rows follow, itself or by a property of them.
        caller = sys._getframe(1)
        while caller.f_back and caller.f_globals["__name__"] == Settings.__module__:
            caller = caller.f_back
        noting = caller.f_globals["__name__"] == trial_log.__name__
        if name in type(self).model_fields and type(self) in known and not noting:
            read.add(f"{known[type(self)]}.{name}")
        return given(self, name)

    done = 0
    for name in graph.planner.order:
        if not graph.datasets[name].grain.by_sector or key(SECTOR, MONTH) not in graph.profile.store.existing(
            graph.datasets[name]
        ):
            continue
        together = graph.planner._flow.together[name]
        run = job.get_subset(asset_selection={dg.AssetKey(each) for each in together}, asset_check_selection=set())
        read.clear()
        with monkeypatch.context() as patched, dg.DagsterInstance.ephemeral() as instance:
            patched.setattr(SettingsGroup, "__getattribute__", noted)
            assert run.execute_in_process(instance=instance, partition_key=key(SECTOR, MONTH), run_config=QUIET).success
        without = {"partitions.end"} | {each for each in read if each in known.values()}
        without |= {each for each in read if each.partition(".")[0] in WITHOUT_EFFECT}
        without |= {
            each for each in read if name == "backtest" and each.startswith("statistics.")
        }  # shown beside the rows, not in them
        assert {each for each in read - without if not _covered(each, versions[name].paths)} == set(), name
        done += len(read) > 0
    assert done > 5


@pytest.mark.slow
def test_every_function_that_runs_for_an_asset_is_in_its_digest(graph: Graph) -> None:
    """What Python really calls while an asset is computed, against the definitions that its version lists."""
    versions = recorder(graph.settings).versions
    job, package = graph.defs.resolve_implicit_global_asset_job_def(), str(PROJECT / "quant_assets")
    # What carries rows from the store to the function and back.
    not_followed = tuple(f"{package}/{name}" for name in NOT_FOLLOWED)
    done = 0
    for name in (
        "universe",
        "ohlcv",
        "universe_coverage",
        "prices",
        "fundamentals",
        "indicators",
        "candidates",
        "features",
        "labels",
        "lightgbm_checkpoint",
        "predictions",
        "regime_state",
        "weights",
        "backtest",
        "track_record",
        "ops_report",
    ):
        called: set[tuple[str, str]] = set()

        def note(frame: Any, event: str, _: object, called: set[tuple[str, str]] = called) -> None:
            code = frame.f_code
            if event != "call" or not code.co_filename.startswith(package) or code.co_filename.startswith(not_followed):
                return
            # Only what the asset function itself brings about: the IO manager calls some of the calendar too.
            above, inside = frame, False
            in_thread = threading.current_thread() is not threading.main_thread()
            while above is not None and not inside:
                if above.f_code.co_name in TOLD or above.f_code.co_filename.startswith(f"{package}/io/"):
                    return
                inside = above.f_code.co_filename.endswith("assets/declare.py")
                above = above.f_back
            if inside or in_thread:
                called.add((code.co_filename, code.co_qualname))

        together = graph.planner._flow.together[name]
        run = job.get_subset(asset_selection={dg.AssetKey(each) for each in together}, asset_check_selection=set())
        with dg.DagsterInstance.ephemeral() as instance:
            threading.setprofile(note)
            sys.setprofile(note)
            try:
                assert run.execute_in_process(
                    instance=instance, partition_key=key(SECTOR, MONTH), run_config=QUIET
                ).success
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
        modules = {}
        for file, qualified in called:
            module = ".".join(Path(file).relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
            modules[f"{module.removeprefix('quant_assets.')}.{qualified}"] = module
        listed = versions[name].symbols
        # A function in a function belongs to the outer one, a method may stand as its class.
        missing = {
            each
            for each in modules
            if not any(each == symbol or each.startswith((f"{symbol}.", f"{symbol}.<locals>")) for symbol in listed)
            and not each.endswith(("<module>", "<lambda>", "<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>"))
        }
        # Which features there are is a setting; how they are computed changes no model. Links are beside the rows.
        assert missing <= {"features.library.FeatureLibrary.names", "page_links.page_link", "page_links.place"}, name
        done += len(modules)
    assert done > 100


@pytest.mark.slow
def test_a_report_over_the_history_that_there_is_comes_out_the_same(graph: Graph) -> None:
    """Here, because the chain is computed already: weights of earlier months are there for the backtest, backtests are
    not."""
    found = recompute(graph.profile, "ops_report", key(SECTOR, MONTH))
    assert found.reproduced
    assert {each.asset for each in found.compared} > {"ops_report", "lightgbm_checkpoint", "absences"}


def _covered(path: str, paths: tuple[str, ...]) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in paths)
