"""What a plan is reckoned to hold in memory, and what comes of it: fewer workers, shorter ranges, a refusal."""

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from quant_assets.errors import SettingsError
from quant_assets.partitions import month_range
from quant_assets.planning import memory
from quant_assets.planning.memory import GIB, Reckoner, available, fitted
from quant_assets.planning.plan import Phase
from quant_assets_tests.graph import PROJECT, Graph

AS_OF = date(2024, 6, 12)


def phase(sector: str, first: str = "2023-01", last: str = "2023-12") -> Phase:
    return Phase(("features",), first, last, (sector,))


def by_month(gib: float, base: float = 1.0) -> Callable[[Phase], float]:
    return lambda each: (base + gib * len(month_range(each.first, each.last))) * GIB


CHAINS = [[phase("energy")], [phase("it")], [phase("re")]]


def test_with_plenty_nothing_is_said_or_changed() -> None:
    found = fitted(CHAINS, 2, by_month(0.1), 10 * GIB)
    assert (found.chains, found.workers, found.note) == (CHAINS, 2, None)
    assert fitted([], 2, by_month(0.1), GIB).chains == []


def test_where_it_matters_the_estimate_is_shown() -> None:
    found = fitted(CHAINS, 2, by_month(0.25), 10 * GIB)  # 4 GiB each
    assert (found.chains, found.workers) == (CHAINS, 2)
    assert found.note == "memory: about 4.0 GiB for the largest worker, 10.0 GiB for all: 2 at a time"


def test_workers_are_as_many_as_fit_with_the_largest_ones_together() -> None:
    chains = [[phase("energy", "2023-12")], [phase("it")], [phase("re", "2023-07")]]  # 1.5, 7 and 4 GiB
    found = fitted(chains, 3, by_month(0.5), 11.5 * GIB)
    assert (found.chains, found.workers) == (chains, 2)
    assert found.note is not None
    assert found.note.endswith("11.5 GiB for all: 2 at a time instead of 3")


def test_what_does_not_fit_alone_is_computed_in_shorter_ranges() -> None:
    found = fitted([[phase("energy"), phase("energy", "2023-12")]], 2, by_month(0.5), 3 * GIB)
    (chain,) = found.chains
    assert found.workers == 1
    assert [(each.first, each.last) for each in chain] == [
        ("2023-01", "2023-04"),
        ("2023-05", "2023-08"),
        ("2023-09", "2023-12"),
        ("2023-12", "2023-12"),
    ]


def test_a_month_that_does_not_fit_is_refused_with_what_it_needs_and_what_there_is() -> None:
    with pytest.raises(
        SettingsError, match=r"energy, 2023-12: features need about 3.0 GiB .* 2.5 GiB are available; .*--mem"
    ):
        fitted([[phase("energy")]], 1, by_month(2.0), 2.5 * GIB)


@pytest.mark.parametrize(
    ("cgroup", "files", "left"),
    [
        ("0::/", {"memory.max": "5000", "memory.current": "2000"}, 3100),
        ("0::/a/b", {"a/b/memory.max": "5000", "a/b/memory.current": "2000"}, 3100),
        ("0::/host/path", {"memory.max": "max", "memory.current": "2000"}, None),
        (
            "4:memory:/a\n3:cpu:/",
            {"memory/a/memory.limit_in_bytes": "9000", "memory/a/memory.usage_in_bytes": "1000"},
            8100,
        ),
        ("0::/", {"memory.max": "5000", "memory.current": "6000"}, 0),
        ("", {}, None),
    ],
)
def test_memory_is_that_of_the_control_group_where_it_is_less(
    tmp_path: Path, cgroup: str, files: dict[str, str], left: int | None
) -> None:
    (tmp_path / "cgroup").write_text(cgroup)
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(f"{text}\n")
        cache = "total_inactive_file" if "usage" in name else "inactive_file"
        (tmp_path / "fs" / name).with_name("memory.stat").write_text(f"anon 1\n{cache} 100\n")
    found = available(tmp_path / "fs", tmp_path / "cgroup")
    assert found == left if left is not None else found > 10**8


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return Graph.at(tmp_path_factory.mktemp("empty"), as_of=AS_OF, partitions={"start": "2010-01"})


@pytest.mark.parametrize("name", ["ohlcv", "prices", "indicators", "features", "labels", "predictions"])
def test_the_reckoning_grows_with_the_tickers_and_not_with_the_months_of_what_goes_by_blocks(
    graph: Graph, name: str
) -> None:
    def most(tickers: int, first: str) -> float:
        return (
            Reckoner(graph.defs, graph.profile, {"it": tickers}).most(Phase((name,), first, "2024-06", ("it",))) / GIB
        )

    assert most(100, "2024-06") < most(1000, "2024-06") < most(10_000, "2024-06")
    assert 0.5 < most(10, "2024-06") < 1.0, "a process"
    if name in ("features", "predictions"):
        assert most(1000, "2012-01") < 1.2 * most(1000, "2016-01"), "a longer range has more blocks, no larger ones"
    assert most(1000, "2010-01") < 4.0, "GiB of a thousand tickers and fourteen years"


def test_every_asset_is_reckoned(graph: Graph) -> None:
    reckoner = Reckoner(graph.defs, graph.profile, {"it": 50, "energy": 20})
    for name, dataset in graph.datasets.items():
        sectors = ("it",) if dataset.grain.by_sector else ()
        assert memory._PROCESS <= reckoner.most(Phase((name,), "2024-01", "2024-06", sectors)) < 2 * GIB, name


def test_a_training_over_bars_holds_all_of_their_sessions(tmp_path: Path) -> None:
    models = {"lightgbm": {"kind": "lightgbm"}, "deep": {"kind": "transformer"}}
    graph = Graph.at(tmp_path, as_of=AS_OF, partitions={"start": "2010-01"}, models=models)

    def held(tickers: int, name: str, first: str = "2024-05") -> float:
        sectors = () if name == "transformer_pretrained" else ("it",)
        return Reckoner(graph.defs, graph.profile, {"it": tickers}).most(Phase((name,), first, "2024-05", sectors))

    months = 36 + 13  # of the trainings, and of the windows before
    cells = 9_000 * 20 * months
    for name in ("transformer_checkpoint", "transformer_pretrained"):
        # What was measured of bars alone, docs/running-elsewhere.md.
        assert 1.0 < (held(10_000, name) - held(1_000, name)) / (cells * 527) < 2.0, name
        assert held(1_000, name, "2020-01") < 1.05 * held(1_000, name), "one training at a time"
    assert held(1_000, "lightgbm_checkpoint") < held(1_000, "transformer_checkpoint")


#: Runs the phases of some assets in a process of their own, and prints the bytes that it held at most.
_RUN = """
import re, resource, sys
from pathlib import Path
from quant_assets_tests.planning.test_memory import phases_of, small
graph = small(Path(sys.argv[1]))
for phase in phases_of(graph):
    graph.materialise(phase.assets, tags=phase.range_tags)
status = Path("/proc/self/status")
if status.is_file():  # what getrusage says is at least what the process held that started this one
    print(int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def small(folder: Path) -> Graph:
    return Graph.at(folder, as_of=AS_OF, partitions={"start": "2023-09"})


def phases_of(graph: Graph) -> list[Phase]:
    names = ["ohlcv", "prices", "features", "labels"]
    return graph.planner.plan(names, ["it"], "2024-05", "2024-06").phases


@pytest.mark.slow
def test_the_reckoning_is_of_the_order_of_what_a_run_holds(tmp_path: Path) -> None:
    graph = small(tmp_path)
    for folder in (tmp_path / "first", tmp_path):  # compiling, which is kept for later runs, may take more than they do
        command = [sys.executable, "-c", _RUN, str(folder)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert graph.profile.store.existing(graph.datasets["features"]) == {"2024-05|it", "2024-06|it"}
    held = int(done.stdout.split()[-1])
    snapshots = graph.profile.source.sector_snapshots(AS_OF)
    tickers = {"it": snapshots.filter(sector="it")["ticker"].n_unique()}
    reckoned = max(map(Reckoner(graph.defs, graph.profile, tickers).most, phases_of(graph)))
    assert 0.5 < reckoned / held < 3.0, f"{reckoned / GIB:.2f} GiB reckoned, {held / GIB:.2f} held"
