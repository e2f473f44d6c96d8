"""Files of settings as people write them: tickers that look like other things, other encodings, keys that stand twice,
paths of all kinds. A mistake is one line that names the file."""

from datetime import date
from pathlib import Path

import pytest

from quant_assets.errors import SettingsError
from quant_assets.settings.loading import Settings, load_settings
from quant_assets.settings.origin import ROOT
from quant_assets.settings.providers import Span

HEAD = "source: files\npartitions: {start: '2020-01'}\n"


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of settings with two files, in a place with spaces, a comma and an accent."""
    folder = tmp_path / "mes réglages, à moi"
    (folder / "profiles").mkdir(parents=True)
    (folder / "base.yaml").write_bytes((ROOT / "conf" / "base.yaml").read_bytes())
    monkeypatch.setenv("QUANT_CONF_DIR", str(folder))
    return folder


def written(conf: Path, text: str | bytes) -> Path:
    path = conf / "profiles" / f"p{len(list((conf / 'profiles').iterdir()))}.yaml"  # a file is read once by a process
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def loaded(conf: Path, text: str) -> Settings:
    return load_settings(written(conf, HEAD + text).stem)


def refused(conf: Path, text: str | bytes) -> str:
    path = written(conf, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path.stem)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(path), "THE_FILE")


def test_tickers_that_look_like_other_things_are_tickers(conf: Path) -> None:
    files = loaded(
        conf,
        """files:
  prices:
    - file: a.csv
      provider: on
      adjustment: as_traded
      where: {market: NO, session: 12:30, code: 0700}
      not_the_member: {ON: {}, NO: {last: 2020-02-03}, 1e5: {}, 2020-01-02: {}, 7: {}, true: {}, null: {}}
  renames: [{old: ON, new: Y, since: 2020-02-03}]
""",
    ).files
    (prices,), (rename,) = files.prices, files.renames
    assert prices.provider == "on"
    assert prices.where == {"market": "NO", "session": "12:30", "code": "0700"}
    assert prices.not_the_member["NO"] == Span(last=date(2020, 2, 3))
    assert list(prices.not_the_member) == ["ON", "NO", "1e5", "2020-01-02", "7", "true", "null"]
    assert (rename.old, rename.new, rename.since) == ("ON", "Y", date(2020, 2, 3))


@pytest.mark.parametrize(
    ("written_so", "read_as"), [("true", "true"), ("1e5", "100000.0"), ("7", "7"), ("null", "null")]
)
def test_what_cannot_be_read_as_a_text_is_to_be_quoted(conf: Path, written_so: str, read_as: str) -> None:
    message = refused(conf, f"{HEAD}files: {{renames: [{{old: {written_so}, new: A, since: 2020-02-03}}]}}\n")
    assert f"files.renames.0.old of profile 'p0' is not valid: it is read as {read_as}, which is not a text" in message
    assert "write it in quotes" in message
    assert loaded(conf, f'files: {{renames: [{{old: "{written_so}", new: A, since: 2020-02-03}}]}}').files.renames


def test_numbers_truths_and_nothing_are_still_what_they_are(conf: Path) -> None:
    found = loaded(
        conf,
        "as_of: 2024-06-28\nfundamentals: {from_restatement: yes}\nweights: {max_weight: 2.5e-1}\n"
        "candidates: {min_dollar_volume: 1_000_000, min_volatility: .1}\ndata_dir: ~\n",
    )
    assert found.as_of == date(2024, 6, 28)
    assert found.fundamentals.from_restatement is True
    assert (found.weights.max_weight, found.candidates.min_dollar_volume) == (0.25, 1e6)
    assert found.candidates.min_volatility == 0.1
    assert found.data_dir is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEAD}# é\n".encode("latin-1"), "THE_FILE is not UTF-8 (line 3); save it in that encoding"),
        (HEAD.encode("utf-16"), "THE_FILE is not UTF-8 (line 1)"),
        (f"{HEAD}\0", "THE_FILE is not valid YAML: unacceptable character #x0000"),
        (f"{HEAD}source: demo\n", "THE_FILE is not valid YAML: the key 'source' is duplicated"),
        (f"{HEAD}? [a, b]\n: 1\n", "THE_FILE is not valid YAML: a key must be a text"),
        ("[" * 1_000, "THE_FILE is nested too deeply"),
        (f"{HEAD}as_of: !!timestamp soon\n", "THE_FILE has a value that does not match its tag"),
        (f"{HEAD}weights: {{top_n: {'9' * 5_000}}}\n", "THE_FILE has a value that does not match its tag"),
        ("", "THE_FILE must hold a mapping of settings, found NoneType"),
    ],
    ids=["latin-1", "utf-16", "nul", "twice", "list key", "nested", "tag", "digits", "empty"],
)
def test_a_file_that_cannot_be_read_is_named(conf: Path, text: str | bytes, message: str) -> None:
    assert refused(conf, text).startswith(message)


def test_a_byte_order_mark_is_no_part_of_the_settings(conf: Path) -> None:
    assert load_settings(written(conf, f"\ufeff{HEAD}").stem).source == "files"


def test_a_mapping_that_others_take_in_may_be_changed_by_them(conf: Path) -> None:
    files = loaded(
        conf,
        "files:\n  prices:\n"
        "    - &first {file: a.csv, provider: a, adjustment: as_traded, columns: &own {volume: v}}\n"
        "    - &second {<<: *first, provider: b, columns: {<<: *own, close: c}}\n"
        "    - {<<: *second, provider: c}\n",
    ).files
    assert [each.provider for each in files.prices] == ["a", "b", "c"]
    assert files.prices[2].columns == {"volume": "v", "close": "c"}


def test_the_home_folder_stands_for_its_sign(conf: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("QUANT__STORAGE", "~/quant store")
    monkeypatch.setenv("QUANT_DATA_DIR", "~/data, new")
    monkeypatch.setenv("QUANT_CONF_DIR", f"~/{conf.name}")
    found = loaded(conf, "")
    assert found.storage_url == f"{tmp_path}/quant store/p0"
    assert found.data_dir == tmp_path / "data, new"
    monkeypatch.delenv("QUANT__STORAGE")
    assert loaded(conf, "storage: ~/x").storage_url == f"{tmp_path}/x/p1"
    monkeypatch.setenv("QUANT__STORAGE", "~nobody-of-this-name/x")
    with pytest.raises(SettingsError, match="storage ~nobody-of-this-name/x: there is no such home folder"):
        loaded(conf, "")


@pytest.mark.parametrize("value", ["''", '"a\\0b"'])
def test_a_storage_without_a_name_is_refused(conf: Path, value: str) -> None:
    assert "storage must name a folder or a URL" in refused(conf, f"{HEAD}storage: {value}\n")


@pytest.mark.parametrize(
    ("horizons", "message"),
    [
        ("[-5, 20]", "horizons.0"),
        ("[0, 20]", "horizons.0"),
        ("[20, 20]", "20 is listed twice"),
        ("[]", "labels.horizons"),
    ],
)
def test_horizons_are_sessions_ahead_and_each_stands_once(conf: Path, horizons: str, message: str) -> None:
    assert message in refused(conf, f"{HEAD}labels: {{horizons: {horizons}}}\n")


@pytest.mark.parametrize("start", ["1985-01", "1989-12", "0000-01", "٢٠٢٤-٠١"])
def test_a_profile_begins_no_earlier_than_the_calendar(conf: Path, start: str) -> None:
    assert "partitions.start" in refused(conf, f"source: demo\npartitions: {{start: '{start}'}}\n")


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
def test_numbers_are_finite(conf: Path, number: str) -> None:
    assert "finite number" in refused(conf, f"{HEAD}candidates: {{max_volatility: {number}}}\n")


def test_a_folder_that_cannot_be_read_is_named(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "n" * 300  # longer than a file's name may be: also root cannot read it
    monkeypatch.setenv("QUANT_CONF_DIR", str(conf / name))
    with pytest.raises(SettingsError, match=f"{name}/profiles cannot be read: File name too long; fix that"):
        load_settings("mine")
    monkeypatch.setenv("QUANT_CONF_DIR", str(conf / "base.yaml"))
    with pytest.raises(SettingsError, match=r"base\.yaml is no folder; set QUANT_CONF_DIR to a folder that holds"):
        load_settings("mine")


@pytest.mark.parametrize(("made", "why"), [(False, "does not exist"), (True, r"has no profiles/\*\.yaml")])
def test_a_folder_of_settings_without_any_is_named_with_the_remedy(
    made: bool, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "typo"
    if made:
        folder.mkdir()
    monkeypatch.setenv("QUANT_CONF_DIR", str(folder))
    message = rf"folder of settings {folder} {why}; set QUANT_CONF_DIR to .* or unset it for {ROOT / 'conf'}$"
    with pytest.raises(SettingsError, match=message):
        load_settings("demo")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("as_of: 9999-12-31", "as_of 9999-12-31 is too late; 9899-12-31 is the last day"),
        ("partitions: {end: '9999-12'}", "end 9999-12 is too late; 9899-12 is the last month"),
        ("indicators: {history_sessions: 3000000000}", "history_sessions 3000000000 is too large"),
        ("training: {seed: -3000000000}", "seed -3000000000 is too large"),
        ("fundamentals: {min_lag_days: 4000}", "less than or equal to 3650"),
    ],
)
def test_what_is_out_of_all_proportion_is_refused(conf: Path, text: str, message: str) -> None:
    base = "source: files\n" if text.startswith("partitions") else HEAD
    start = "{start: '2020-01', " if text.startswith("partitions") else "{"
    assert message in refused(conf, f"{base}{text.replace('{', start)}\n")
