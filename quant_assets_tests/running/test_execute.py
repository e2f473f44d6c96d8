"""Chains of runs for real: parallel processes on a fresh instance, a step that fails, a check that blocks, a
killed worker."""

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import date
from multiprocessing.process import BaseProcess
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.errors import SettingsError
from quant_assets.io.binding import RECORD
from quant_assets.planning.plan import Phase
from quant_assets.profile import Profile
from quant_assets.running.execute import RunFailedError, execute, lasting_workers
from quant_assets.running.instance import dagster_home
from quant_assets.running.processes import shared_cores
from quant_assets.schemas import DATASETS
from quant_assets.settings.loading import load_settings
from quant_assets.settings.origin import conf_dir
from quant_assets.sources.base import DELISTINGS
from quant_assets.sources.demo import DemoSource
from quant_assets_tests.graph import PROJECT

FIRST, LAST = "2024-05", "2024-06"


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """The demo profile with a storage and an instance of its own, through the environment as workers see it."""
    for name, value in {
        "QUANT__STORAGE": str(tmp_path / "storage"),
        "QUANT__DAGSTER__STORAGE": "sqlite",
        "QUANT__AS_OF": "2024-06-28",
        "QUANT__PARTITIONS__START": FIRST,
        "QUANT_PROFILE": "demo",
        "DAGSTER_HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(name, value)
    dagster_home("demo")
    return Profile(load_settings("demo"))


def chain(sector: str, *steps: Sequence[str]) -> list[Phase]:
    return [Phase(tuple(names), FIRST, LAST, (sector,)) for names in steps]


def empty_ohlcv(profile: Profile, *sectors: str) -> None:
    for sector in sectors:
        profile.store.write(DATASETS["ohlcv"], DATASETS["ohlcv"].empty(), [f"{FIRST}|{sector}", f"{LAST}|{sector}"])


def spoil(profile: Profile, name: str, partition_key: str) -> str:
    path = Path(profile.store.path(DATASETS[name], partition_key))
    path.write_bytes(b"PAR1 cut short")
    return str(path)


def existing(profile: Profile, name: str) -> set[str]:
    return profile.store.existing(DATASETS[name])


@pytest.mark.parametrize("apart", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_profile_that_is_edited_during_a_run_does_not_matter(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    shutil.copytree(conf_dir(), tmp_path / "conf")
    monkeypatch.setenv("QUANT_CONF_DIR", str(tmp_path / "conf"))
    (tmp_path / "conf" / "profiles" / "demo.yaml").write_text("labels: {horizons: [3]}\nsuorce: files\n")
    with pytest.raises(SettingsError, match="not valid"):
        load_settings("demo")
    execute([[Phase(("fundamentals",), LAST, LAST, ("it",))]], profile.settings, 1, lambda *_: None, apart=apart)
    assert existing(profile, "fundamentals") == {f"{LAST}|it"}


@pytest.mark.slow
def test_sectors_run_in_parallel_and_one_that_fails_does_not_stop_the_others(profile: Profile) -> None:
    """Three chains, two processes, an instance that does not exist before."""
    empty_ohlcv(profile, "energy", "it")
    path = spoil(profile, "ohlcv", f"{FIRST}|energy")
    steps = ("fundamentals",), ("prices",)
    counted: list[tuple[str, int]] = []
    with pytest.raises(RunFailedError) as caught:
        execute(
            [chain("energy", *steps, ("universe",)), chain("it", *steps), [], chain("utilities", ("fundamentals",))],
            load_settings("demo"),
            2,
            lambda *each: counted.append(each),
        )
    message = str(caught.value)
    assert message.startswith(f"prices (energy, {FIRST} to {LAST}): {path} cannot be read")
    assert message.endswith("delete it and materialise it again")
    assert "\n" not in message
    both = {f"{FIRST}|it", f"{LAST}|it"}
    assert existing(profile, "fundamentals") == both | {
        f"{month}|{sector}" for month in (FIRST, LAST) for sector in ("energy", "utilities")
    }
    assert existing(profile, "prices") == both
    assert existing(profile, "universe") == set(), "the chain ended where it failed"
    assert sorted(counted) == [("fundamentals", 2)] * 3 + [("prices", 2)]
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs()
        assert sorted(run.status.value for run in runs) == ["FAILURE"] + ["SUCCESS"] * 4
        assert {run.tags["dagster/asset_partition_range_start"] for run in runs} == {
            f"{FIRST}|{s}" for s in ("energy", "it", "utilities")
        }
        assert instance.get_materialized_partitions(dg.AssetKey("prices")) == both, "the web UI shows what was written"


@pytest.mark.slow
def test_every_chain_that_fails_is_named_and_the_others_are_finished_in_one_process_too(profile: Profile) -> None:
    empty_ohlcv(profile, "energy", "it", "utilities")
    for sector in ("energy", "utilities"):
        spoil(profile, "ohlcv", f"{LAST}|{sector}")
    plan = [[Phase(("prices",), LAST, LAST, (sector,))] for sector in ("energy", "it", "utilities")]
    with pytest.raises(RunFailedError) as caught:
        execute(plan, load_settings("demo"), 1, lambda *_: None)
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"prices (energy, {LAST})", f"prices (utilities, {LAST})"]
    assert existing(profile, "prices") == {f"{LAST}|it"}


@pytest.mark.slow
def test_a_sector_that_fails_in_a_run_with_its_neighbours_is_named_and_they_are_finished(profile: Profile) -> None:
    sectors = ("healthcare", "financials", "it")
    empty_ohlcv(profile, *sectors)
    spoil(profile, "ohlcv", f"{LAST}|financials")
    plan = [
        [
            Phase(("fundamentals",), FIRST, LAST, sectors),
            Phase(("prices",), FIRST, LAST, sectors),
            Phase(("universe",), LAST, LAST, sectors),
        ]
    ]
    with pytest.raises(RunFailedError) as caught:
        execute(plan, load_settings("demo"), 1, lambda *_: None)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"prices (financials, {FIRST} to {LAST}): ")
    assert existing(profile, "fundamentals") == {f"{month}|{sector}" for month in (FIRST, LAST) for sector in sectors}
    assert existing(profile, "prices") == {
        f"{month}|{sector}" for month in (FIRST, LAST) for sector in ("healthcare", "it")
    }
    assert existing(profile, "universe") == {f"{LAST}|healthcare", f"{LAST}|it"}
    with dg.DagsterInstance.get() as instance:
        assert len(instance.get_runs()) == 2 + 3 + 2, (
            "one for each step together, and from the failure on one for each sector"
        )


BARS = ("absences", "delistings", "ohlcv", "price_disagreements", "price_events", "price_peaks", "quarantine")


class RepeatsDelistings(DemoSource):
    """A provider that gives a delisting twice."""

    def delistings(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        one = pl.DataFrame(
            {
                "ticker": tickers[:1],
                "last_session": [through],
                "known_at": [through],
                "reason": ["takeover"],
                "successor": [None],
            },
            DELISTINGS,
        )
        return pl.concat([one, one])


class Crashes(DemoSource):
    """A provider with a bug."""

    def statements(self, tickers: Sequence[str], through: date) -> pl.DataFrame:
        try:
            raise KeyError("what the provider sent")
        except KeyError as error:
            raise ValueError("a bug\nof two lines") from error


@pytest.mark.slow
def test_a_check_that_fails_stops_what_is_downstream_and_is_one_line(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quant_assets.sources.demo.DemoSource", RepeatsDelistings)
    for name in ("prices", "universe"):
        profile.store.write(DATASETS[name], DATASETS[name].empty(), [f"{LAST}|it"])
    with pytest.raises(RunFailedError) as caught:
        execute([[Phase((*BARS, "labels"), LAST, LAST, ("it",))]], load_settings("demo"), 1, lambda *_: None)
    message = str(caught.value)
    assert message.startswith(
        f"delistings (it, {LAST}): check 'keys' failed, so nothing downstream was computed; "
        "fix the cause and run again: "
    )
    assert "key ticker last_session known_at repeats: 2 rows, first" in message
    assert "\n" not in message
    assert existing(profile, "delistings") == existing(profile, "labels") == set(), "later runs do not read it either"
    assert list(Path(profile.store.url).glob("delistings/sector=it/month=2024-06/*.refused")), "it can be looked at"


@pytest.mark.slow
def test_a_bug_is_named_with_its_run(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quant_assets.sources.demo.DemoSource", Crashes)
    with pytest.raises(RunFailedError) as caught:
        execute([[Phase(("fundamentals",), LAST, LAST, ("it",))]], load_settings("demo"), 1, lambda *_: None)
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
    assert (
        str(caught.value)
        == f"fundamentals (it, {LAST}): ValueError: a bug of two lines (unexpected; see run {run.run_id} in the web UI)"
    )


@pytest.mark.slow
def test_what_the_machine_refuses_is_no_bug(profile: Profile) -> None:
    folder = Path(profile.store.url) / "fundamentals" / "sector=it"
    folder.mkdir(parents=True)
    (folder / f"month={LAST}").touch()  # root, too, is refused a folder in it
    with pytest.raises(RunFailedError) as caught:
        execute([[Phase(("fundamentals",), LAST, LAST, ("it",))]], load_settings("demo"), 1, lambda *_: None)
    assert str(caught.value).startswith(f"fundamentals (it, {LAST}): {folder / f'month={LAST}'}")
    assert str(caught.value).endswith("; fix that and run again")


@pytest.mark.slow
def test_a_step_of_several_assets_names_them_all(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DemoSource, "bars", lambda *_: 1 / 0)
    with pytest.raises(
        RunFailedError, match=rf"^{', '.join(BARS)} \(it, {LAST}\): ZeroDivisionError: division by zero "
    ):
        execute([[Phase(BARS, LAST, LAST, ("it",))]], load_settings("demo"), 1, lambda *_: None)


def workers() -> list[BaseProcess]:
    return [each for each in multiprocessing.active_children() if each.name.startswith("SpawnProcess")]


@pytest.mark.slow
def test_a_killed_worker_is_said(profile: Profile) -> None:
    def kill() -> None:
        for _ in range(600):
            if workers():
                workers()[0].kill()
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(
        RunFailedError, match=r"a worker process was killed, perhaps for lack of memory; .* fewer --workers"
    ):
        execute(
            [chain("energy", ("fundamentals",)), chain("it", ("fundamentals",))],
            load_settings("demo"),
            2,
            lambda *_: None,
        )
    killer.join()


@pytest.mark.slow
def test_a_killed_worker_is_named_with_what_it_was_at_and_the_memory_that_it_held(profile: Profile) -> None:
    """Killed from outside, as the system does it, once it has written something: the one worker of one chain."""

    def kill(dataset: str, partitions: int) -> None:
        (worker,) = workers()
        worker.kill()

    with pytest.raises(RunFailedError) as caught:
        execute([chain("energy", ("fundamentals",), BARS)], load_settings("demo"), 1, kill, apart=True)
    found = re.fullmatch(
        r"a worker process was killed, perhaps for lack of memory; it had begun (.+) and held (\d+\.\d\d) GiB of "
        r"memory \(at most (\d+\.\d\d)\); written partitions stay: run again with fewer --workers",
        str(caught.value),
    )
    assert found is not None, str(caught.value)
    began, held, most = found.groups()
    assert re.fullmatch(rf"(fundamentals|ohlcv, .*) \(energy, {FIRST} to {LAST}\)", began), began
    assert 0.05 < float(held) <= float(most) < 4.0, "a process with the project's libraries"
    assert existing(profile, "fundamentals") == {f"{FIRST}|energy", f"{LAST}|energy"}


@pytest.mark.slow
def test_stages_one_after_the_other_have_the_same_process(profile: Profile) -> None:
    """As `apart` asks for it, and no longer than the block."""
    at_work: list[set[int | None]] = []

    def written(dataset: str, partitions: int) -> None:
        at_work[-1] |= {each.pid for each in workers()}

    with lasting_workers():
        for name in ("fundamentals", "universe"):
            at_work.append(set())
            execute([chain("energy", (name,))], load_settings("demo"), 1, written, apart=True)
    first, second = at_work
    assert first == second
    assert len(first) == 1
    assert not workers()


def test_workers_share_the_cores_and_this_process_keeps_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_MAX_THREADS", "7")  # the user's
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    with shared_cores(1000):
        assert (os.environ["POLARS_MAX_THREADS"], os.environ["NUMBA_NUM_THREADS"]) == ("7", "1")
    assert os.environ["POLARS_MAX_THREADS"] == "7"
    assert "NUMBA_NUM_THREADS" not in os.environ


def test_nothing_to_do_is_nothing(profile: Profile) -> None:
    execute([[], []], load_settings("demo"), 2, lambda *_: pytest.fail("nothing was written"))
    assert not (Path(os.environ["DAGSTER_HOME"]) / "history").exists()


def test_the_instance_has_a_folder_for_each_profile_and_its_configuration_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QUANT__DAGSTER__STORAGE", "sqlite")
    home = dagster_home("demo")
    assert home == tmp_path / "home"
    assert sorted(path.name for path in home.iterdir()) == ["dagster.yaml", RECORD]
    assert (home / "dagster.yaml").read_bytes() == (conf_dir() / "dagster.yaml").read_bytes()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    assert dagster_home("demo") == home
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", "relative")
    assert dagster_home("demo") == tmp_path / "relative", "Dagster itself refuses a relative folder"
    assert os.environ["DAGSTER_HOME"] == str(tmp_path / "relative")


@pytest.mark.slow
def test_commands_that_start_together_make_the_instance_once(tmp_path: Path) -> None:
    code = (
        "from quant_assets.running.instance import dagster_home, initialise_instance\n"
        "print('ready', flush=True); input(); dagster_home('demo'); initialise_instance(); print('made')"
    )
    environment = os.environ | {"DAGSTER_HOME": str(tmp_path), "QUANT__DAGSTER__STORAGE": "sqlite"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    together = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=PROJECT, text=True, **pipes)
        for _ in range(3)
    ]
    for each in together:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in together:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    assert [each.communicate() for each in together] == [("made\n", "")] * 3
