"""Whether a fit depends on later rows: those of a test slice, or of its validation slice.

Features and labels from the test slice on are altered, and the real training runs again. Fits before the slice must
stay the same: rows, targets, features, choices, model files. This needs no knowledge of how rows are prepared.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from quant_assets.audit.datasets import Alter, read_all
from quant_assets.audit.findings import Comparison
from quant_assets.audit.fitting import Fit, Given
from quant_assets.audit.learning_stage import Stage, Trained
from quant_assets.settings.sectors import SECTORS

#: Largest made-up label, in standard deviations of the labels; never beyond _LARGEST.
_DEVIATIONS, _LARGEST = 5.0, 0.8

#: Made-up features are drawn from this share of the column's values, the largest ones.
_SHARE = 0.1

#: Altered data, by the name of the run.
_ALTERED = {"features": "features", "for": "labels", "against": "labels"}

#: Metrics that change their sign with the labels.
_ODD = ("ic", "rank_ic")

#: Rounding tolerance of metrics whose labels changed their sign.
_ROUNDING = 1e-9

_VALIDATION = (
    "the rows that a model is fitted on depend on its own validation slice: fit medians, scales and the choice of "
    "features on the training rows of the fold alone"
)
_TEST = (
    "a model depends on {what} of its own test slice: medians, scales, bounds or features are chosen over all rows, "
    "or the test slice stops or tunes the fit; fit and choose on the fold's earlier rows"
)


def later_slices(stage: Stage, actual: Trained, *, earlier: bool = False) -> tuple[list[Comparison], list[str]]:
    """Train on altered features, and twice on altered labels, from the last test slice on.

    One training has labels that agree with the model's forecasts, the other one their opposite. A choice of model or
    number of trees by the test slice differs between the two. A metric of forecasts that do not know the labels only
    changes its sign.

    Args:
        stage: the training.
        actual: its result on the unaltered input.
        earlier: take one of the slices before the last, drawn by the training's seed, sector and session; the last one
            if there is no other.

    """
    found, notes = list[Comparison](), list[str]()
    learners = stage.base.profile.models.learners.values()
    one = None if any(each.all_horizons for each in learners) else stage.horizon
    labels = read_all(stage.base, "labels").select("ticker", "date", "horizon", "known_at")
    starts = {name: _begins(stage, fits, earlier=earlier) for name, fits in actual.fits.items()}
    for trainer, start in starts.items():
        if start is None:
            notes.append(f"learning was not tested: no fit of {trainer}, {stage.sector}, forecasts a test slice")
            continue
        later = _Later(stage, trainer, start, actual, labels)
        runs = {
            name: stage.run(f"{trainer}-{name}-{start}", altered, one, forecasts=False)
            for name, altered in later.alterations().items()
        }
        compared = [later.compared(runs[name], what) for name, what in _ALTERED.items()]
        found += _one(compared[:1]) + _one(compared[1:])
        found += later.same_forecasts([runs["for"], runs["against"]])
        judged = later.opposite_metrics(runs["for"], runs["against"])
        found += judged
        if not any(each.compared for each in judged):
            notes.append(f"learning was not tested: {trainer}, {stage.sector}, records no metrics of its test slices")
        if not any(each.compared or each.differing for each in found if each.asset == trainer):
            notes.append(
                f"learning was not tested: every fit of {trainer}, {stage.sector}, has rows that became known "
                f"after {start}, when a test slice begins"
            )
    return found, notes


def _one(found: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons that failed, or the first."""
    return [each for each in found if each.failed][:1] or list(found[:1])


def _begins(stage: Stage, fits: Sequence[Fit], *, earlier: bool) -> date | None:
    """First session of a forecast slice that begins after all rows of its fit; None without one."""
    starts = set[date]()
    for fit in fits:
        if fit.horizon == stage.horizon and len(fit.fitted):
            last: date = fit.fitted.said["date"].max()  # type: ignore[assignment]
            first: list[date] = [each.said["date"].min() for each in fit.predicted if len(each)]  # type: ignore[misc]
            starts |= {max(each for each in first if each > last)} if any(each > last for each in first) else set()
    if not starts:
        return None
    *others, final = sorted(starts)
    if not (earlier and others):
        return final
    drawn = [stage.base.profile.settings.training.seed, list(SECTORS).index(stage.sector), stage.as_of.toordinal()]
    return others[int(np.random.default_rng(drawn).integers(len(others)))]


@dataclass(frozen=True)
class _Later:
    """Alterations of data known from a session on, and comparisons of fits from before it."""

    stage: Stage
    trainer: str
    start: date
    actual: Trained
    labels: pl.DataFrame

    def alterations(self) -> dict[str, dict[str, Alter]]:
        """Altered inputs by the name of their run."""
        place = self._forecast_place()

        def labelled(sign: float) -> Alter:
            def made_up(labels: pl.DataFrame) -> pl.DataFrame:
                deviation = float(labels["forward_return"].std() or 0.0)  # type: ignore[arg-type]
                size = sign * min(_LARGEST, max(_DEVIATIONS * deviation, 1e-6))
                own = pl.col("forward_return").rank("average").over("date", "horizon") / pl.len().over(
                    "date", "horizon"
                )
                told = labels.join(place, on=["ticker", "date"], how="left", maintain_order="left")
                value = size * (2.0 * pl.coalesce("place", own) - 1.0)
                later = pl.col("known_at") >= self.start
                kept = pl.when(later).then(value).otherwise("forward_return")
                return told.with_columns(kept.alias("forward_return")).drop("place")

            return made_up

        return {
            "features": {"features": self._redrawn},
            "for": {"labels": labelled(1.0)},
            "against": {"labels": labelled(-1.0)},
        }

    def _forecast_place(self) -> pl.DataFrame:
        """Rank of the test slice's forecasts among those of their session, from 0 to 1: `ticker`, `date`, `place`.

        Ranks of several models are averaged. Sessions whose forecasts are all equal are left out.
        """
        schema = {"ticker": pl.String, "date": pl.Date, "value": pl.Float64, "model": pl.String}
        forecasts = [
            given.said.with_columns(value=pl.Series(given.values), model=pl.lit(fit.model))
            for fit in self.actual.fits[self.trainer]
            if fit.horizon == self.stage.horizon
            for given in fit.predicted
        ]
        rows = pl.concat([pl.DataFrame(schema=schema), *forecasts]).filter(pl.col("date") >= self.start)
        rows = rows.unique(["ticker", "date", "model"], keep="last", maintain_order=True)
        ranked = rows.with_columns(pl.col("value").rank("average").over("date", "model"))
        mean = ranked.group_by("ticker", "date", maintain_order=True).agg(pl.col("value").mean())
        differing = mean.filter(pl.col("value").n_unique().over("date") > 1)
        return differing.select(
            "ticker", "date", place=pl.col("value").rank("average").over("date") / pl.len().over("date")
        )

    def _redrawn(self, features: pl.DataFrame) -> pl.DataFrame:
        """The features; from the session on, they are drawn from the largest values of their column."""
        rng, later = np.random.default_rng(self.stage.base.profile.settings.training.seed), pl.col("date") >= self.start
        drawn = {}
        for name in self.stage.base.profile.features.names:
            values = features[name].drop_nulls().sort()
            if len(values):
                largest = values.tail(max(1, int(_SHARE * len(values))))
                drawn[name] = largest.gather(rng.integers(0, len(largest), len(features)))
        replaced = features.with_columns(pl.Series(f"{name}|drawn", each) for name, each in drawn.items())
        return replaced.with_columns(
            pl.when(later).then(f"{name}|drawn").otherwise(name).alias(name) for name in drawn
        ).select(features.columns)

    def compared(self, run: Trained, what: str) -> Comparison:
        """Compare fits on the unaltered and on the altered input."""
        rows, first = 0, None
        pairs = list(_in_pairs(self.actual.fits[self.trainer], run.fits[self.trainer]))
        for fit, other in pairs:
            if not self._before(fit, fit.fitted):
                continue
            whole = all(self._before(fit, each) for each in fit.stopped_by)
            rows += len(fit.fitted) + sum(len(each) for each in fit.stopped_by if whole)
            if first is None:
                first = _difference(fit, other, whole=whole)
                cause = _TEST.format(what=what) if whole else _VALIDATION
        if first is None:
            return self.stage.comparison(self.trainer, "model_sha256", rows, 0)
        column, expected, found = first
        return self.stage.comparison(self.trainer, column, max(rows, 1), 1, expected=expected, found=found, cause=cause)

    def same_forecasts(self, runs: Sequence[Trained]) -> list[Comparison]:
        """Compare forecasts of the test slice, with unaltered features, by models that must not know its labels."""
        rows, differing, shown = 0, 0, dict[str, Any]()
        for run in runs:
            for fit, other in _in_pairs(self.actual.fits[self.trainer], run.fits[self.trainer]):
                if other is None or not all(self._before(fit, each) for each in (fit.fitted, *fit.stopped_by)):
                    continue
                for given, again in zip(fit.predicted, other.predicted, strict=False):
                    rows += len(given)
                    unequal = _unequal(given.values, again.values)
                    differing += int(unequal.sum())
                    if unequal.any() and not shown:
                        at = int(np.flatnonzero(unequal)[0])
                        told = (repr(float(each.values[min(at, len(each) - 1)])) for each in (given, again))
                        shown = dict(zip(("expected", "found"), told, strict=True))
                        shown["first"] = given.said[at].to_dicts()
        cause = "forecasts of a test slice depend on its own labels: these choose the fit, or the number of trees"
        return [self.stage.comparison(self.trainer, "prediction", rows, differing, cause=cause, **shown)]

    def opposite_metrics(self, one: Trained, other: Trained) -> list[Comparison]:
        """Compare metrics of the test slice under labels and their opposite: they must be opposite, too."""
        pairs = list(zip(*(self._metrics(each) for each in (one, other)), strict=True))
        wrong = [
            (name, first[name], second[name])
            for first, second in pairs
            for name in _ODD
            if None not in (first[name], second[name]) and abs(first[name] + second[name]) > _ROUNDING
        ]
        rows = sum(first["rows"] for first, _ in pairs if first["rank_ic"] is not None)
        shown: dict[str, Any] = {}
        if wrong:
            name, first, second = wrong[0]
            shown = {
                "expected": f"{name} {-first:+.4f} where every label of the test slice changes its sign",
                "found": f"{name} {second:+.4f}",
                "cause": "the forecasts know the labels that they are judged by: "
                "they were calibrated, scaled or chosen on the test slice",
            }
        return [self.stage.comparison(self.trainer, _ODD[1], rows, len(wrong), **shown)]

    def _metrics(self, run: Trained) -> list[Mapping[str, Any]]:
        """Metrics by model of the test slice that begins at the session, from the manifests."""
        rows = read_all(run.scratch, self.trainer)
        if "manifest_file" not in rows.columns:
            return []
        chosen = rows.filter((pl.col("horizon") == self.stage.horizon) & pl.col("manifest_file").is_not_null())
        names = chosen.sort("model")["manifest_file"]
        manifests = [json.loads(run.scratch.profile.store.read_artifact(name)) for name in names]
        begins = self.start.isoformat()
        return [
            fold["metrics"]
            for each in manifests
            for fold in each.get("folds", ())
            if fold.get("test", {}).get("first_date") == begins
        ]

    def _before(self, fit: Fit, given: Given) -> bool:
        """Whether the labels of all rows that a fit states were known before the session."""
        labels = self.labels.filter(pl.col("horizon") == fit.horizon)
        known = given.said.join(labels, on=["ticker", "date"], how="left")
        return bool(len(known) and (known["known_at"] < self.start).fill_null(False).all())


def _in_pairs(fits: Sequence[Fit], others: Sequence[Fit]) -> Iterator[tuple[Fit, Fit | None]]:
    """Pairs of fits of two runs, by model, horizon and position; None where the other run has no such fit.

    Horizons that the other run does not train are skipped.
    """
    by: dict[tuple[str, int], list[Fit]] = {}
    for each in others:
        by.setdefault((each.model, each.horizon), []).append(each)
    place = dict.fromkeys(by, 0)
    for fit in fits:
        which = fit.model, fit.horizon
        if which in by:
            at = place[which]
            place[which] += 1
            yield fit, by[which][at] if at < len(by[which]) else None


def _difference(fit: Fit, other: Fit | None, *, whole: bool) -> tuple[str, str, str] | None:
    """Column, value and altered value of the first difference; `whole` compares the complete fit."""
    if other is None:
        return "fits", "a fit", "none: the number of fits differs"
    if fit.features != other.features:
        gone = sorted(set(fit.features) ^ set(other.features))
        return "features", f"{len(fit.features)} features", f"{len(other.features)}; differing: {', '.join(gone[:5])}"
    parts = [("training rows", fit.fitted, other.fitted)]
    if whole:
        parts += [("validation rows", one, two) for one, two in zip(fit.stopped_by, other.stopped_by, strict=False)]
    for what, one, two in parts:
        if len(one) != len(two):
            return "rows", f"{len(one)} {what}", f"{len(two)} {what}"
        unequal = _unequal(one.matrix, two.matrix)
        if unequal.any():
            place = int(np.flatnonzero(unequal.any(axis=0))[0])
            row = int(np.flatnonzero(unequal[:, place])[0])
            given, again = (f"{float(each.matrix[row, place])!r} in {what}" for each in (one, two))
            return fit.features[place], given, again
        for name in ("values", "targets"):
            unequal = _unequal(getattr(one, name), getattr(two, name))
            if unequal.any():
                row = int(np.flatnonzero(unequal)[0])
                given, again = (f"{float(getattr(each, name)[row])!r} in {what}" for each in (one, two))
                return "forward_return", given, again
    for name in fit.made if whole else ("fill",):
        if fit.made[name] != other.made[name]:
            column = "model_sha256" if name == "files" else name
            return column, fit.made[name], other.made[name]
    return None


def _unequal(one: Any, two: Any) -> Any:
    """Where two arrays of one shape differ; NaN equals NaN."""
    if one.shape != two.shape:
        return np.ones_like(one, dtype=bool)
    return ~((one == two) | (np.isnan(one) & np.isnan(two)))
