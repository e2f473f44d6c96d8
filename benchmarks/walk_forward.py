"""Walk-forward forecasts of the models of profile `files` over years of real data, with two controls.

    python -m benchmarks.walk_forward --data DIR --into FOLDER [--from 2010-01] [--to 2025-10] [--sector it,energy]
    [--labels actual,permuted,oracle] [--workers 2]

The product itself does the work, by `quant run` with a storage and a Dagster instance in FOLDER for each of:

- `actual`: the history from DIR, a training each quarter, the forecasts of every month;
- `permuted`: the same features, with labels shuffled among the names of each session; these cannot be forecast;
- `oracle`: the same labels; for each horizon one feature is replaced by its labels with a little noise.

Stored results are not computed again, so an interrupted call continues. At the end the rank ICs of all forecasts with
known labels are printed by sector and year as Markdown, with their t; FOLDER/LABELS/rank_ic.csv has them all. The t of
a single year and a long horizon rests on few outcomes that do not overlap (four at 60 sessions): |t| of 3 is not
unusual there, and `lower` and `upper` in the file are empty.
`known_at` and the trainings' embargo are the product's: see quant_assets/learning.
"""

import argparse
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from quant_assets.audit.learning_relations import dealt_anew, with_answer
from quant_assets.backtest.intervals import hac_interval
from quant_assets.learning.metrics import daily_ic, standard_error
from quant_assets.market.containment import known
from quant_assets.partitions import key, month_range, shift_month
from quant_assets.profile import Profile
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.loading import load_settings
from quant_assets.settings.sectors import SECTORS

PROJECT = Path(__file__).resolve().parents[1]

LABELS = ("actual", "permuted", "oracle")

#: Deviation of the oracle's noise, over that of the session's labels.
NOISE = 0.1

#: Months of one call of `quant run`: the most that an interruption costs.
MONTHS_AT_A_TIME = 48

#: Name of all sectors or years together.
ALL = "all"

#: |t| that one in twenty unrelated series reaches.
_SIGNIFICANT = 1.96


@dataclass(frozen=True)
class Study:
    """Folders and scope of the study.

    Attributes:
        data: folder of the files.
        folder: folder of the storages.
        sectors: slugs.
        first, last: months of the forecasts.
        workers: workers of `quant run`.

    """

    data: Path
    folder: Path
    sectors: tuple[str, ...]
    first: str
    last: str
    workers: int

    @cached_property
    def begin(self) -> str:
        """First month of the features: that of the first training's window."""
        training = self.profile("actual").settings.training
        back = training.window_months + training.max_checkpoint_age_months
        return max(shift_month(self.first, -back), self.profile("actual").months.start)

    def profile(self, labels: str) -> Profile:
        """The profile whose storage holds the results for these labels."""
        return Profile(load_settings("files", data_dir=self.data, storage=str(self.folder / labels / "storage")))

    def keys(self, sector: str, first: str) -> list[str]:
        """Partitions of a sector up to the last month."""
        return [key(sector, month) for month in month_range(first, self.last)]

    def run(self, labels: str, select: str, sectors: Sequence[str], first: str, last: str) -> None:
        """Run `quant run`; its output is shown.

        Raises:
            SystemExit: it failed.

        """
        place = self.folder / labels
        environment = os.environ | {"QUANT_DATA_DIR": str(self.data), "QUANT__STORAGE": str(place / "storage")}
        environment |= {"DAGSTER_HOME": str(place / "home"), "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-m", "quant_assets.cli", "run", "--profile", "files", "--select", select]
        command += ["--from", first, "--to", last, "--sector", ",".join(sectors), "--workers", str(self.workers)]
        said(f"{labels}: {select}, {', '.join(sectors)}, {first} to {last}")
        if subprocess.run(command, env=environment, cwd=PROJECT, stdout=sys.stderr, check=False).returncode:
            raise SystemExit(f"{' '.join(command)} failed; the same call continues from the stored results")

    def history(self) -> None:
        """Compute the missing features and labels of the sectors."""
        profile = self.profile("actual")
        lacking = [
            sector
            for sector in self.sectors
            if any(profile.store.missing(profile.datasets[name], self.keys(sector, self.begin)) for name in _READ)
        ]
        if lacking:
            self.run("actual", "ohlcv..labels", lacking, self.begin, self.last)

    def lay_out(self, labels: str) -> None:
        """Write the altered features and labels of a control where they are missing, a partition at a time."""
        source, target = self.profile("actual"), self.profile(labels)
        names = dict(zip(source.settings.labels.horizons, source.features.names, strict=False))
        for sector in self.sectors:
            lacking = {
                month
                for name in _READ
                for month in target.store.missing(target.datasets[name], self.keys(sector, self.begin))
            }
            if lacking:
                said(f"{labels}: features and labels of {sector}, {len(lacking)} months")
            for partition in sorted(lacking):
                rows = {name: source.store.read(source.datasets[name], [partition]).collect() for name in _READ}
                # By the partition, so that its rows do not depend on other partitions.
                seed = [source.settings.training.seed, zlib.crc32(partition.encode())]
                for name, frame in altered(labels, rows["features"], rows["labels"], names, seed).items():
                    through = source.store.known_through(source.datasets[name], partition)
                    known_through = None if through is None else {partition: through}.__getitem__
                    target.store.write(target.datasets[name], frame, [partition], known_through)

    def learn(self, labels: str) -> None:
        """Train and forecast where forecasts are missing, some years at a time."""
        profile, months = self.profile(labels), month_range(self.first, self.last)
        for start in range(0, len(months), MONTHS_AT_A_TIME):
            part = months[start : start + MONTHS_AT_A_TIME]
            wanted = {sector: [key(sector, month) for month in part] for sector in self.sectors}
            lacking = [s for s, keys in wanted.items() if profile.store.missing(profile.datasets["predictions"], keys)]
            if lacking:
                self.run(labels, f"{CHECKPOINTS.name},predictions", lacking, part[0], part[-1])

    def daily(self, labels: str) -> pl.DataFrame:
        """ICs of each session, for all forecasts with known labels: `sector, model, horizon`, and those of `daily_ic`.

        The labels are those of the training, so those of the control are permuted too.
        """
        profile, parts = self.profile(labels), []
        for sector in self.sectors:
            keys = self.keys(sector, self.first)
            forecasts, outcomes = (
                profile.store.read(profile.datasets[name], keys).drop("month").collect()
                for name in ("predictions", "labels")
            )
            rows = forecasts.select("ticker", "date", "horizon", "model", "prediction").join(
                known(outcomes).select("ticker", "date", "horizon", "forward_return"),
                on=["ticker", "date", "horizon"],
                how="inner",
                validate="m:1",
            )
            for (model, horizon), part in rows.group_by("model", "horizon"):
                columns = {"sector": pl.lit(sector), "model": pl.lit(model), "horizon": pl.lit(horizon, pl.Int32)}
                parts.append(daily_ic(part).with_columns(**columns))
        return pl.concat(parts).sort("model", "horizon", "sector", "date")


_READ = ("features", "labels")


def altered(
    labels: str, features: pl.DataFrame, outcomes: pl.DataFrame, places: dict[int, str], seed: Sequence[int]
) -> dict[str, pl.DataFrame]:
    """Features and labels of a control.

    Args:
        labels: `permuted` or `oracle`.
        features: dataset `features`, whole sessions.
        outcomes: dataset `labels` of the same sessions.
        places: of each horizon the feature whose place the oracle takes.
        seed: seed of the draws.

    Returns:
        `features` and `labels`.

    """
    if labels == "permuted":
        return {"features": features, "labels": dealt_anew(outcomes, seed)}
    ordered = outcomes.sort("date", "ticker", "horizon")
    with_noise = ordered.with_columns(noise=pl.Series(np.random.default_rng(seed).standard_normal(len(ordered))))
    deviation = pl.col("forward_return").std().over("date", "horizon").fill_null(0.0)
    noisy = with_noise.with_columns(pl.col("forward_return") + NOISE * deviation * pl.col("noise"))
    for horizon, place in places.items():
        features = with_answer(features, noisy.filter(pl.col("horizon") == horizon), place)
    return {"features": features, "labels": outcomes}


def together(daily: pl.DataFrame) -> pl.DataFrame:
    """The sessions' ICs with one more sector, `all`: their mean over the sectors, weighted by names."""
    weighed = [((pl.col(ic) * pl.col("names")).sum() / pl.col("names").sum()).alias(ic) for ic in ("ic", "rank_ic")]
    market = daily.group_by("model", "horizon", "date").agg(*weighed, pl.col("names").sum())
    both = pl.concat([daily, market.with_columns(sector=pl.lit(ALL)).select(daily.columns)])
    return both.sort("model", "horizon", "sector", "date")


def table(daily: pl.DataFrame, *, overlapping: bool) -> pl.DataFrame:
    """Mean ICs with errors by sector and year, and over all of them.

    Args:
        daily: `sector, model, horizon, date, names, ic, rank_ic`.
        overlapping: whether outcomes of neighbouring sessions share returns; permuted ones do not, since each session
            is shuffled by itself.

    Returns:
        `model, horizon, sector, year`, `sessions`, `names` (a session's mean), `ic`, `rank_ic`, `error` of the latter
        (`learning.metrics.standard_error`: exact for a known overlap), `t`, and `lower` and `upper` of the interval of
        95 % that allows for any autocorrelation (`backtest.intervals.hac_interval`; null where too few outcomes do not
        overlap).

    """
    years = daily.with_columns(year=pl.col("date").dt.year().cast(pl.String))
    means = []
    for part in (years, years.with_columns(year=pl.lit(ALL))):
        for (model, horizon, sector, year), rows in part.group_by("model", "horizon", "sector", "year"):
            ordered = rows.sort("date")
            values, overlap = ordered["rank_ic"].to_numpy(), int(horizon) if overlapping else 1  # type: ignore[call-overload]
            mean, error = float(values.mean()), standard_error(values, ordered["date"].to_numpy(), overlap)
            lower, upper = hac_interval(values, "mean", overlap) or (None, None)
            means.append(
                {"model": model, "horizon": horizon, "sector": sector, "year": year, "sessions": len(rows)}
                | {"names": rows["names"].mean(), "ic": rows["ic"].mean(), "rank_ic": mean, "error": error}
                | {"t": mean / error if error else None, "lower": lower, "upper": upper}
            )
    return pl.DataFrame(means, infer_schema_length=None).sort("model", "horizon", "sector", "year")


def markdown(means: pl.DataFrame, labels: str, sectors: Sequence[str]) -> Iterator[str]:
    """The tables of one kind of labels: by model and horizon, and for actual labels also by year."""
    columns = [*sectors, ALL]
    overall = means.filter(pl.col("year") == ALL)
    yield f"### {labels}: mean daily rank IC (t) of each sector\n"
    yield from _lines(overall.with_columns(row=pl.format("{}, {} sessions", "model", "horizon")), "", columns)
    cells = overall.filter((pl.col("sector") != ALL) & (pl.col("model") != "ensemble"))["t"].drop_nulls()
    if len(cells) and labels != "oracle":
        above, square = int((cells.abs() > _SIGNIFICANT).sum()), float(np.square(cells.to_numpy()).mean())
        yield (
            f"\nOf {len(cells)} cells (sectors apart, without the ensemble) {above} have |t| above {_SIGNIFICANT}; by "
            f"chance it would be {0.05 * len(cells):.1f}. Mean square of t: {square:.2f}; by chance 1."
        )
    if labels != "actual":
        return
    for (model, horizon), part in means.group_by("model", "horizon", maintain_order=True):
        yield f"\n### {model}, {horizon} sessions: mean daily rank IC (t) of each year\n"
        yield from _lines(part.with_columns(row="year"), "year", columns)


def _lines(means: pl.DataFrame, title: str, columns: Sequence[str]) -> Iterator[str]:
    yield "| " + " | ".join([title, *columns]) + " |"
    yield "|" + "---|" * (len(columns) + 1)
    cells = {(row["row"], row["sector"]): row for row in means.iter_rows(named=True)}
    for name in means["row"].unique(maintain_order=True):
        yield "| " + " | ".join([name, *(_cell(cells.get((name, column))) for column in columns)]) + " |"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    return f"{row['rank_ic']:+.3f}" + (f" ({row['t']:+.1f})" if row["t"] is not None else "")


def said(text: str) -> None:
    """Print progress on standard error: the output has only the tables."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> None:
    """Compute the missing results and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--from", dest="first", default="2010-01")
    parser.add_argument("--to", dest="last", default="2025-10")
    parser.add_argument("--sector", default=",".join(SECTORS))
    parser.add_argument("--labels", default=",".join(LABELS))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    if unknown := sorted({*args.labels.split(",")} - {*LABELS}):
        parser.error(f"there are no labels '{unknown[0]}'; choose among {', '.join(LABELS)}")
    if unknown := sorted({*args.sector.split(",")} - {*SECTORS}):
        parser.error(f"sector '{unknown[0]}' does not exist; choose among {', '.join(SECTORS)}")
    args.into.mkdir(parents=True, exist_ok=True)
    sectors = tuple(sector for sector in SECTORS if sector in args.sector.split(","))
    study = Study(args.data.resolve(), args.into.resolve(), sectors, args.first, args.last, args.workers)
    study.history()
    for labels in (kind for kind in LABELS if kind in args.labels.split(",")):
        if labels != "actual":
            study.lay_out(labels)
        study.learn(labels)
        ics = table(together(study.daily(labels)), overlapping=labels != "permuted")
        ics.write_csv(study.folder / labels / "rank_ic.csv")
        print("\n".join(markdown(ics, labels, sectors)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
