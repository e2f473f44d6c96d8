"""What is recorded: one digest for each input and partition, over its windows alone, and hashes of files that are read
once."""

import json
from pathlib import Path
from typing import Any

from quant_assets.io.store import DatasetStore
from quant_assets.partitions import key, month_range
from quant_assets.provenance.record import MadeBy, _file_hashes, digests, explain, libraries
from quant_assets.provenance.versions import Version

MONTHS = month_range("2023-01", "2024-06")


def version(**windows: tuple[int, int]) -> Version:
    return Version({}, (), windows, False)


def contents(*sectors: str) -> dict[str, str | None]:
    return {key(sector, month): f"{sector}{month}" for sector in sectors for month in MONTHS}


def test_a_partition_has_the_same_digests_whatever_else_its_run_reads() -> None:
    wide = digests({"prices": contents("it", "energy")}, version(prices=(-3, 0)), {}, 0)("2024-03|it")
    alone = {each: found for each, found in contents("it").items() if "2023-12" <= each[:7] <= "2024-03"}
    assert digests({"prices": alone}, version(prices=(-3, 0)), {}, 0)("2024-03|it") == wide
    for changed in ("2023-11|it", "2024-04|it", "2024-03|energy"):
        assert (
            digests({"prices": contents("it", "energy") | {changed: "x"}}, version(prices=(-3, 0)), {}, 0)("2024-03|it")
            == wide
        )
    for changed in ("2023-12|it", "2024-03|it"):
        assert (
            digests({"prices": contents("it", "energy") | {changed: "x"}}, version(prices=(-3, 0)), {}, 0)("2024-03|it")
            != wide
        )


def test_what_goes_on_maturing_after_the_partition_does_not_count() -> None:
    read, labels = version(labels=(-6, 0)), contents("it")
    found = digests({"labels": labels}, read, {"labels": 4}, 0)("2024-06|it")
    assert digests({"labels": labels | {"2024-03|it": "matured"}}, read, {"labels": 4}, 0)("2024-06|it") == found
    assert digests({"labels": labels | {"2024-02|it": "changed"}}, read, {"labels": 4}, 0)("2024-06|it") != found
    ahead = version(prices=(0, 4))
    prices = digests({"prices": labels}, ahead, {"labels": 4}, 4)("2024-01|it")
    assert digests({"prices": labels | {"2024-05|it": "changed"}}, ahead, {"labels": 4}, 4)("2024-01|it") != prices


def test_an_asset_across_sectors_reads_all_of_them() -> None:
    read = version(features=(0, 0))
    found = digests({"features": contents("it", "energy")}, read, {}, 0)("2024-03")
    assert digests({"features": contents("it", "energy") | {"2024-03|energy": "x"}}, read, {}, 0)("2024-03") != found
    assert digests({"features": contents("it", "energy") | {"2024-02|energy": "x"}}, read, {}, 0)("2024-03") == found


def test_a_file_is_hashed_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    store = DatasetStore(str(tmp_path / "store"))
    file = tmp_path / "prices.csv"
    file.write_text("a", encoding="utf-8")
    first = _file_hashes(store, tmp_path, ["prices.csv", "absent.csv"])
    assert list(first) == ["prices.csv"]
    remembered = json.loads(store.read_artifact("sources/files.json"))
    remembered[str(file)][3] = "as remembered"
    store.write_artifact("sources/files.json", json.dumps(remembered).encode())
    assert _file_hashes(store, tmp_path, ["prices.csv"]) == {"prices.csv": "as remembered"}
    file.write_text("bc", encoding="utf-8")
    assert _file_hashes(store, tmp_path, ["prices.csv"])["prices.csv"] not in ("as remembered", first["prices.csv"])


def test_arrow_is_among_the_libraries_since_the_hash_is_over_what_it_writes() -> None:
    assert {"polars", "pyarrow"} <= libraries().keys()


def test_a_new_model_is_named_and_not_each_of_its_settings_or_its_code_as_changed() -> None:
    old = {"models": {"lightgbm": {"kind": "lightgbm", "parameters": {}}}, "labels": {"horizons": [5]}}
    new = {
        "models": {**old["models"], "mine": {"kind": "my:Ridge", "parameters": {"a": 1}}},
        "labels": {"horizons": [5]},
    }
    code = {"learning.train": "1"}
    kept = {"c0": code, "c1": code | {"my.Ridge": "2", "my.Fitted": "3"}, "s0": old, "s1": new}

    def meaning(kind: str, found: str) -> Any:
        return kept[found]

    read = Version({}, ("models", "labels.horizons"), {}, False)
    was, now = (MadeBy(f"c{n}", f"s{n}", f"s{n}", "l", {}) for n in (0, 1))
    assert explain(read, None, was, now, meaning, meaning) == {
        "code": "code of my.Fitted, my.Ridge added",
        "settings": "new model mine",
    }
    assert explain(read, None, now, was, meaning, meaning) == {
        "code": "code of my.Fitted, my.Ridge gone",
        "settings": "removed model mine",
    }
    kept["s1"] = {**new, "labels": {"horizons": [5, 20]}}
    kept["c1"] = {"learning.train": "4", **{f"my.f{n}": "2" for n in range(5)}}
    assert explain(read, None, was, now, meaning, meaning) == {
        "code": "code of learning.train changed, my.f0, my.f1, my.f2 and 2 more added",
        "settings": "new model mine; settings labels.horizons [5] -> [5, 20]",
    }
