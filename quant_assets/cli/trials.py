"""Body of `quant trials`: what was tried, when in market time, with which settings and results. Writes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets.backtest.metrics import sharpe
from quant_assets.backtest.trials import Trial, counted, evidence
from quant_assets.errors import MissingPartitionError
from quant_assets.graph import build_defs
from quant_assets.partitions import month_end
from quant_assets.profile import Profile

#: Settings of a trial that differ from the present ones, as far as the table names them.
_SHOWN_CHANGES = 6


def output(profile: Profile, scopes: Sequence[str], month: str) -> Iterator[str | Table]:
    """What the command prints: trials known at the end of `month`; how many each scope's Sharpe ratios are deflated by.

    Args:
        profile: whose log is read.
        scopes: sector slugs and `portfolio`; those without a trial are left out.
        month: the last one whose trials count.

    Raises:
        MissingPartitionError: there is no trial.

    """
    build_defs(profile)  # tells the log which settings decide a trial
    as_of = min(month_end(month), profile.last_session())
    table = Table()
    for name in (
        "scope",
        "kind",
        "trial",
        "first",
        "last",
        "sessions",
        "Sharpe",
        "rank IC",
        "settings that differ from the present ones",
    ):
        table.add_column(name, justify="right" if name in ("sessions", "Sharpe", "rank IC") else "left")
    counts, deflated = [], []
    for scope in scopes:
        known = profile.trials.trials(scope, profile.months.start, month)
        trials = [each for each in known if each.scope == scope and each.first <= as_of]
        if trials:
            counts.append(f"{scope} {len({each.name for each in counted(known, as_of)})}")
        present = profile.trials.present(scope)
        for trial in sorted(trials, key=lambda each: (each.kind, each.first, each.name)):
            changes = differences(present[trial.kind], profile.trials.settings_of(trial))
            if trial.kind == "strategy" and not changes:
                track = trial.returns(date.min, as_of).rename({"value": "net_return"})
                ratio = evidence(track, known, profile.settings.statistics)["deflated_sharpe"]
                if ratio is not None:
                    deflated.append(f"{scope} {100 * ratio:.1f} % since {track['date'][0]}")
            table.add_row(*map(escape, (scope, trial.kind, trial.name, *_measured(trial, as_of), _listed(changes))))
    if not table.row_count:
        raise MissingPartitionError(
            f"no trial up to {month} is in {profile.store.artifact_url('trials')}; "
            "quant run notes one with each training and backtest"
        )
    yield f"trials known at {as_of}"
    yield table
    yield (
        "strategies, and trainings that no strategy uses, by which the Sharpe ratios are deflated: "
        f"{', '.join(counts)}. Sharpe ratios of trainings are those of the fifth of the names "
        "that the test folds' forecasts liked best, before costs."
    )
    if deflated:
        yield f"deflated Sharpe ratios with the present settings: {', '.join(deflated)}"


def differences(present: Mapping[str, Any], tried: Mapping[str, Any], path: str = "") -> list[str]:
    """Sorted `path=value` of settings of `tried` that are not the present ones; `path=(none)` of one that it lacks."""
    found = []
    for name in sorted(present.keys() | tried.keys()):
        old, new, at = present.get(name), tried.get(name), f"{path}{name}"
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{at}.")
        elif isinstance(old, list) and isinstance(new, list) and max(len(old), len(new)) > _SHOWN_CHANGES:
            gone, added = [each for each in old if each not in new], [each for each in new if each not in old]
            found.append(
                f"{at}: {_listed([f'+{each}' for each in added] + [f'-{each}' for each in gone]) or 'another order'}"
            )
        else:
            found.append(f"{at}={'(none)' if name not in tried else new}")
    return found


def _measured(trial: Trial, as_of: date) -> tuple[str, str, str, str, str]:
    """First and last day, sessions, annualised Sharpe ratio and mean rank IC of what is known at a day."""
    rows = trial.returns(date.min, as_of)
    if rows.is_empty():
        return str(trial.first), "", "0", "", ""
    ratio = sharpe(rows["value"].to_list())
    if ratio is not None and trial.kind == "training":  # of returns over several sessions, annualised as if of one
        ratio /= trial.sessions**0.5
    known = trial.measured.filter(pl.col("as_of") <= as_of)
    # The window of the figures: what of a strategy counts begins with its first execution.
    first, last = (
        (rows["date"].min(), rows["date"].max())
        if trial.kind == "strategy"
        else (known["as_of"].min(), known["as_of"].max())
    )
    rank_ic = rows["rank_ic"].mean()
    return (
        str(first),
        str(last),
        str(len(rows)),
        "" if ratio is None else f"{ratio:.2f}",
        f"{rank_ic:+.3f}" if isinstance(rank_ic, float) else "",
    )


def _listed(texts: Sequence[str]) -> str:
    shown = ", ".join(texts[:_SHOWN_CHANGES])
    return f"{shown} … and {len(texts) - _SHOWN_CHANGES} more" if len(texts) > _SHOWN_CHANGES else shown
