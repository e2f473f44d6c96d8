"""`quant daily` and `quant live`: what is said of days without an entry, and what both print where there are some."""

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.assets.live import DECISIONS
from quant_assets.profile import Profile
from quant_assets_tests.command import Quant, status_of
from quant_assets_tests.graph import SMALL
from quant_assets_tests.synthetic_live import DAYS, GO_LIVE, LAST, live_settings, materialised, months_written


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in SMALL.items():  # with which the stored months are written
        monkeypatch.setenv(f"QUANT__{name.upper()}", json.dumps(value, default=str))
    monkeypatch.setenv("QUANT__STORAGE", str(tmp_path))
    monkeypatch.setenv("QUANT__AS_OF", str(LAST))
    monkeypatch.setenv("QUANT__LIVE__GO_LIVE", str(GO_LIVE))
    monkeypatch.setenv("QUANT__LIVE__SECTORS", '["healthcare", "it"]')
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("daily", "--as-of", "tomorrow"), "'tomorrow' is not a day; write it as YYYY-MM-DD"),
        (("daily", "--as-of", "2024-06-30"), "2024-06-30 (Sunday) is not a session of XNYS"),
        (("daily", "--as-of", "2024-07-05"), "the session of 2024-07-05 is not over; the last closed session is"),
        (("daily", "--as-of", "2024-06-25"), "2024-06-25 is before the go-live day 2024-06-26 (live.go_live)"),
        (("daily", "-p", "files"), "profile 'files' has no go-live day, and so no ledger; set live.go_live"),
        (("live",), "nothing is recorded from 2024-06-26 to 2024-07-03"),
        (("live", "--compare"), "has no entry of healthcare, it from 2024-06-26 to 2024-07-03"),
        (("live", "--from", "2024-07-02", "--to", "2024-07-01"), "swap --from and --to"),
        (("live", "--json", "x.json"), "--json writes the differences of --compare"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_what_cannot_be_is_one_line(
    arguments: tuple[str, ...], told: str, command: Quant, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "files" in arguments:
        for name in ("GO_LIVE", "SECTORS"):
            monkeypatch.delenv(f"QUANT__LIVE__{name}")
    outcome = command(*arguments)
    assert (outcome.status, outcome.err.count("\n")) == (status_of(outcome.err), 1), outcome.err
    assert told in outcome.err


@pytest.mark.slow
def test_the_record_and_the_comparison_over_entries(command: Quant, storage: Path, tmp_path: Path) -> None:
    profile = Profile(live_settings(storage))
    months_written(profile, LAST, sectors=["it"])
    assert materialised(profile, DECISIONS, DAYS[0], DAYS[1], ["it"])[0]
    labels = profile.datasets["labels"]
    held = profile.store.read(profile.every_dataset[DECISIONS], [f"{DAYS[0]}|it"]).filter(pl.col("item") == "weight")
    names = held.collect()["ticker"]
    rows = pl.DataFrame({"ticker": names}).select(
        pl.col("ticker"),
        sector=pl.lit("it"),
        date=pl.lit(DAYS[0]),
        horizon=pl.lit(1, pl.Int32),
        forward_return=pl.lit(0.02),
        entry_date=pl.lit(DAYS[1]),
        exit_date=pl.lit(DAYS[2]),
        known_at=pl.lit(DAYS[2]),
        delisted=pl.lit(False),
        unexplained=pl.lit(False),
    )
    profile.store.write(labels, rows, ["2024-06|it"], lambda _: LAST)
    outcome = command("live", "--sector", "it")
    assert outcome.status == 0, outcome.err
    (row,) = outcome.rows
    assert (row["sector"], row["first"], row["last"]) == ("it", str(DAYS[0]), str(DAYS[1]))
    assert (row["recorded"], row["late"], row["matured"]) == ("2", "2", "1")
    assert row["return, 1 session each"] == "+0.70%"  # 2 % on the one name, which has at most 35 % of the capital
    assert "no forecast has matured yet" in outcome.out

    assert "all would be the same today" in command("live", "--compare", "-s", "it").out
    again = Profile(live_settings(storage))
    months_written(
        again,
        LAST,
        sectors=["it"],
        change=lambda name, _, rows: rows.with_columns(momentum=-pl.col("momentum")) if name == "indicators" else rows,
    )
    file = tmp_path / "differences.json"
    outcome = command("live", "--compare", "-s", "it", "--json", str(file))
    assert outcome.status == 0, outcome.err
    assert "restated input" in outcome.out
    written = json.loads(file.read_text(encoding="utf-8"))
    assert [each["day"] for each in written["entries"]] == [str(DAYS[0]), str(DAYS[1])]
    assert date.fromisoformat(written["first"]) == GO_LIVE
    assert {one["cause"] for each in written["entries"] for one in each["differences"]} == {"restated input"}
