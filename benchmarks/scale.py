"""Seconds and peak memory of the whole history at one, two and four times the tickers, to see both grow with the rows.

    python -m benchmarks.scale --data DIR [--times 1 2 4] [--select ohlcv..labels] [--from 2000-01] [--to 2025-09]
    [--sector it,energy] [--workers 1]

The profile `files` runs over copies of DIR in a temporary folder; each further copy of a ticker has its own name and
otherwise the same bars, memberships, sectors and statements. With `--sector` only the tickers of these sectors are
copied: ten copies make a sector of a large market. Settings come from the environment as usual, storage and instance
are temporary too. After each run over the whole range its last month is run again: the time for adding a month to a
full history.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psutil

from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Measured:
    """Resources of a command: seconds of wall clock and CPU, peak GiB of all processes and of the largest one."""

    seconds: float
    cpu_seconds: float
    peak_gib: float
    largest_gib: float


def replicate(source: Path, target: Path, times: int, sectors: Sequence[str] = ()) -> int:
    """Copy the files of the profile with `times` copies of each ticker; returns the rows of all price files.

    Args:
        source: folder of the files.
        target: folder for the copies.
        times: copies of each ticker.
        sectors: sectors whose tickers are copied; all if empty.

    """
    profile = Profile(load_settings("files", data_dir=source))
    files = profile.settings.files
    snapshots = profile.source.sector_snapshots(profile.last_session())
    # The bars of a renamed company may have any of its symbols.
    symbols = {symbol for rename in files.renames for symbol in (rename.old, rename.new)}
    kept = symbols.union(snapshots.filter(pl.col("sector").is_in(list(sectors)))["ticker"])
    names = {source.file for source in (*files.prices, *files.fundamentals, *files.macro)}
    names |= {source.file for source in (files.membership, files.securities) if source is not None}
    rows = 0
    for name in sorted(names):
        frame = pl.read_parquet(source / name)
        if sectors and _symbols(frame):
            frame = frame.filter(pl.any_horizontal(pl.col(_symbols(frame)).cast(pl.String).is_in(list(kept))))
        if name in {prices.file for prices in files.prices}:
            rows += len(frame) * times
        if "ticker" in frame.columns and times > 1:
            copies = [
                frame.with_columns(_renamed(column, number) for column in _symbols(frame)) for number in range(1, times)
            ]
            frame = pl.concat([frame, *copies])
            if name in {prices.file for prices in files.prices}:
                frame = frame.sort("ticker", "date", maintain_order=True)
        frame.write_parquet(target / name)
    return rows


def _symbols(frame: pl.DataFrame) -> list[str]:
    return [name for name in ("ticker", "ticker_source") if name in frame.columns]


def _renamed(column: str, number: int) -> pl.Expr:
    return pl.format("{}~{}", pl.col(column).cast(pl.String), pl.lit(number)).alias(column)


def measure(command: list[str], environment: dict[str, str], mark: str) -> Measured:
    """Run a command and watch its processes, with those whose command line names `mark` (the database server).

    Memory is the proportional set size where available: pages shared by processes count once.
    """
    started, before = time.monotonic(), os.times()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, env=environment, cwd=PROJECT, stdout=output, stderr=output)
        peak = largest = 0
        while process.poll() is None:
            sizes = [_memory(member) for member in _processes(process.pid, mark)]
            peak, largest = max(peak, sum(sizes)), max([largest, *sizes])
            time.sleep(0.5)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{output.read()[-3000:]}")
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return Measured(time.monotonic() - started, cpu, peak / 2**30, largest / 2**30)


def _processes(root: int, mark: str) -> list[psutil.Process]:
    members: dict[int, psutil.Process] = {}
    try:
        parent = psutil.Process(root)
        members = {member.pid: member for member in (parent, *parent.children(recursive=True))}
    except psutil.NoSuchProcess:
        return []
    for server in psutil.process_iter(["name", "cmdline"]):
        if server.info["name"] == "postgres" and mark in " ".join(server.info["cmdline"] or []):
            members |= {member.pid: member for member in (server, *server.children(recursive=True))}
    return list(members.values())


def _memory(process: psutil.Process) -> int:
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        return int(process.memory_info().rss)
    except (OSError, psutil.Error):
        return 0


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--select", default="ohlcv..labels")
    parser.add_argument("--from", dest="first", default="2000-01")
    parser.add_argument("--to", dest="last", default="2025-09")
    parser.add_argument("--sector")
    parser.add_argument("--workers", type=int)
    arguments = parser.parse_args()
    titles = (
        ("price rows", 12),
        ("run", 8),
        ("seconds", 8),
        ("CPU s", 8),
        ("peak GiB", 9),
        ("largest", 9),
        ("rows/s", 9),
    )
    print(" ".join([f"{'tickers':>8}", *(f"{title:>{width}}" for title, width in titles)]))  # noqa: T201
    for times in arguments.times:
        with tempfile.TemporaryDirectory(prefix="quant-scale-") as folder:
            root = Path(folder)
            root.chmod(0o711)  # root's database server runs as another user
            (root / "data").mkdir()
            sectors = arguments.sector.split(",") if arguments.sector else []
            rows = replicate(arguments.data, root / "data", times, sectors)
            home = root / "home"
            environment = os.environ | {"QUANT_DATA_DIR": str(root / "data"), "QUANT__STORAGE": str(root / "storage")}
            environment |= {"DAGSTER_HOME": str(home), "PYTHONPATH": str(PROJECT)}
            for what, first in (("history", arguments.first), ("month", arguments.last)):
                command = [
                    sys.executable,
                    "-m",
                    "quant_assets.cli",
                    "run",
                    "--profile",
                    "files",
                    "--select",
                    arguments.select,
                ]
                command += [
                    "--from",
                    first,
                    "--to",
                    arguments.last,
                    *(["--sector", arguments.sector] if arguments.sector else []),
                    *(["--workers", str(arguments.workers)] if arguments.workers else []),
                ]
                usage = measure(command, environment, str(home))
                speed = f"{rows / usage.seconds:9,.0f}" if what == "history" else ""
                print(  # noqa: T201
                    (
                        f"{times:>7}x {rows:>12,} {what:>8} {usage.seconds:>8.1f} {usage.cpu_seconds:>8.1f} "
                        f"{usage.peak_gib:>9.2f} {usage.largest_gib:>9.2f} {speed}"
                    ),
                    flush=True,
                )


if __name__ == "__main__":
    main()
