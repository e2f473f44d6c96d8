"""Settings: which of files, environment and arguments wins, and that a mistake is one line that names the value and the
remedy."""

import re
from datetime import date
from pathlib import Path

import pytest

from quant_assets.errors import SettingsError
from quant_assets.market.panel import STALE_SESSIONS
from quant_assets.settings.loading import load_settings, recorded_settings
from quant_assets.settings.origin import ROOT, conf_dir
from quant_assets.settings.paths import effective, with_effect
from quant_assets.settings.sectors import SECTORS


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of settings of its own: a copy of the project's base, and a profile `mine`."""
    folder = tmp_path / "conf"
    (folder / "profiles").mkdir(parents=True)
    (folder / "base.yaml").write_bytes((ROOT / "conf" / "base.yaml").read_bytes())
    (folder / "profiles" / "mine.yaml").write_text(
        "source: demo\npartitions: {start: '2020-01'}\nweights: {top_n: 7}\n"
    )
    monkeypatch.setenv("QUANT_CONF_DIR", str(folder))
    return folder


def refused(profile: str | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(profile)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_setting_without_effect_has_none_as_part_of_a_group_either() -> None:
    assert with_effect(("partitions", "end")) == ""
    assert with_effect(("partitions", "start")) == "partitions.start"
    assert with_effect(("launch", "kind")) == ""
    assert with_effect(("weights", "horizon", "real")) == "weights.horizon"
    found = effective(load_settings("demo", partitions={"start": "2022-01", "end": "2024-06"}))
    assert found["partitions"] == {"start": "2022-01"}
    assert not {"storage", "profile", "launch"} & set(found)
    assert found["weights"]["horizon"] == 20


def test_the_projects_profiles_load() -> None:
    demo, files = load_settings("demo"), load_settings("files")
    assert (demo.profile, demo.source, files.source) == ("demo", "demo", "files")
    assert set(demo.indicators.windows) == set(SECTORS)
    assert len(files.files.prices) > 1
    assert demo.storage_url == str(ROOT / "storage" / "demo")


def test_a_delisting_is_not_known_before_a_close_is_stale() -> None:
    with pytest.raises(SettingsError, match=f"delisted_after_sessions.*{STALE_SESSIONS}"):
        load_settings("files", files={"delisted_after_sessions": STALE_SESSIONS - 1})
    assert (
        load_settings("files", files={"delisted_after_sessions": STALE_SESSIONS}).files.delisted_after_sessions
        == STALE_SESSIONS
    )


def test_profile_wins_over_base_environment_over_profile_arguments_over_environment(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = load_settings("mine").indicators.windows
    assert load_settings("mine").weights.top_n == 7
    monkeypatch.setenv("QUANT__WEIGHTS__TOP_N", "8")
    monkeypatch.setenv("QUANT__INDICATORS__WINDOWS__IT__MOVING_AVERAGE", "11")
    monkeypatch.setenv("QUANT__LABELS__HORIZONS", "[20, 40]")
    monkeypatch.setenv("QUANT__AS_OF", "2024-06-28")
    changed = load_settings("mine")
    assert (changed.weights.top_n, changed.labels.horizons, changed.as_of) == (8, (20, 40), date(2024, 6, 28))
    assert changed.indicators.windows["it"].moving_average == 11
    assert changed.indicators.windows["it"].momentum_lag == windows["it"].momentum_lag, "what is not named stays"
    assert changed.indicators.windows["energy"] == windows["energy"]
    assert load_settings("mine", weights={"top_n": 9}).weights.top_n == 9
    assert load_settings("mine").weights.max_weight == 0.35, "the model's own default"
    own = "source: demo\npartitions: {start: '2020-01'}\nindicators: {windows: {energy: {momentum_lag: 3}}}\n"
    (conf / "profiles" / "other.yaml").write_text(own)
    energy = load_settings("other").indicators.windows["energy"]
    assert (energy.moving_average, energy.momentum_lag) == (windows["energy"].moving_average, 3)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUANT__STORAGE", "QUANT__AS_OF", "QUANT_DATA_DIR", "QUANT_PROFILE"):
        monkeypatch.setenv(name, "")
    assert load_settings() == load_settings("demo")
    assert load_settings().storage == "storage"


def test_profile_and_data_folder_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_PROFILE", "files")
    monkeypatch.setenv("QUANT_DATA_DIR", "some/folder")
    assert (load_settings().profile, load_settings().data_dir) == ("files", Path("some/folder"))
    assert load_settings("demo").profile == "demo", "an argument wins"


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret@bucket",
        "memory://key:secret@b/prefix",
        "s3://key:se/secret@bucket",
        "s3://secret@bucket/prefix",
        "simplecache::ftp://key:secret@host/prefix",
    ],
)
def test_a_storage_with_a_login_is_refused_and_not_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT__STORAGE", url)
    message = refused("demo")
    assert "storage holds a login; take it out" in message
    assert "AWS_ACCESS_KEY_ID" in message
    assert "secret" not in message
    with pytest.raises(SettingsError, match="holds a login") as caught:
        recorded_settings(load_settings("demo", storage="storage").model_dump(mode="json"), storage=url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://bucket/a@b", "sftp://host:22/a@b", "/data/a:b@c", "memory://b"])
def test_a_storage_without_a_login_is_taken(url: str) -> None:
    assert load_settings("demo", storage=url).storage == url


def test_storage_is_a_folder_of_the_project_or_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    for storage, url in (
        ("/data/q", "/data/q/demo"),
        ("s3://bucket/prefix/", "s3://bucket/prefix/demo"),
        ("here", f"{ROOT}/here/demo"),
    ):
        monkeypatch.setenv("QUANT__STORAGE", storage)
        assert load_settings("demo").storage_url == url


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "QUANT__NO__SUCH",
            "1",
            (
                r"environment variable QUANT__NO__SUCH names no setting; settings are source, "
                r".*weights.*QUANT__GROUP__NAME"
            ),
        ),
        ("QUANT__NOSUCH", "1", "environment variable QUANT__NOSUCH names no setting"),
        ("QUANT__PROFILE", "files", "QUANT__PROFILE names no setting.*QUANT_PROFILE chooses the profile"),
        (
            "QUANT__WEIGHTS__NO_SUCH",
            "1",
            (
                r"setting weights.no_such of profile 'demo' is not valid: "
                r"there is no such setting.*QUANT__WEIGHTS__NO_SUCH"
            ),
        ),
        (
            "QUANT__WEIGHTS__TOP_N",
            "many",
            r"setting weights.top_n .*valid integer.*conf or in the environment \(QUANT__WEIGHTS__TOP_N\)",
        ),
        ("QUANT__WEIGHTS__TOP_N", "0", r"setting weights.top_n .*greater than or equal to 1"),
        ("QUANT__WEIGHTS", "many", 'field "weights".*QUANT__GROUP__NAME=value, or JSON'),
        ("QUANT__LABELS__HORIZONS", "1,5", 'field "labels".*QUANT__GROUP__NAME=value, or JSON'),
        (
            "QUANT__LABELS__HORIZONS",
            "[1, 5]",
            r"weights.horizon 20 is not one of labels.horizons \(1, 5\); fix it in .*conf or in the env",
        ),
        (
            "QUANT__LABELS__ENTRY_LAG",
            "0",
            r"setting labels.entry_lag .*the very close that decides.*look-ahead; use 1 or more",
        ),
        ("QUANT__INDICATORS__WINDOWS__TECH__MOVING_AVERAGE", "5", r"indicators\.windows.*tech"),
        ("QUANT__PARTITIONS__START", "2024-13", r"setting partitions.start "),
        ("QUANT__PARTITIONS__END", "2017-12", "setting partitions .* start 2018-01 is later than end 2017-12"),
        ("QUANT__AS_OF", "2017-12-29", "as_of 2017-12-29 is before partitions.start 2018-01"),
        ("QUANT__AS_OF", "tomorrow", "setting as_of "),
    ],
)
def test_a_mistake_in_the_environment_is_named(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert re.search(message, refused("demo")), refused("demo")


@pytest.mark.parametrize("below", ["", "/data"])
def test_a_storage_that_is_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QUANT__STORAGE", f"{tmp_path}/file{below}")
    assert refused("demo") == (
        f"storage {tmp_path}/file{below}/demo: {tmp_path}/file is a file; set QUANT__STORAGE (or storage in "
        f"{conf_dir()}) to a folder"
    )


def test_an_unknown_profile_lists_those_there_are(conf: Path) -> None:
    message = refused("nosuch")
    assert "profile 'nosuch' does not exist; choose one of mine with --profile or QUANT_PROFILE" in message
    assert str(conf / "profiles" / "nosuch.yaml") in message


def test_mistakes_in_the_files_are_named(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = conf / "profiles"
    (profiles / "typo.yaml").write_text("source: demo\npartitions: {start: '2020-01'}\nwieghts: {top_n: 7}\n")
    assert "setting wieghts of profile 'typo' is not valid: there is no such setting" in refused("typo")
    (profiles / "broken.yaml").write_text("source: [demo\n")
    assert f"{profiles / 'broken.yaml'} is not valid YAML" in refused("broken")
    (profiles / "list.yaml").write_text("- source\n")
    assert "must hold a mapping of settings, found list" in refused("list")
    (profiles / "short.yaml").write_text("source: demo\n")
    assert "setting partitions of profile 'short' is not valid: Field required" in refused("short")
    (profiles / "sectors.yaml").write_text(
        "source: demo\npartitions: {start: '2020-01'}\n"
        "indicators: {windows: {tech: {moving_average: 5, momentum_lag: 5}}}\n"
    )
    assert "needs exactly the sectors energy" in refused("sectors")
    empty = conf.parent / "elsewhere"
    (empty / "profiles").mkdir(parents=True)
    (empty / "profiles" / "mine.yaml").write_text("source: demo\n")
    monkeypatch.setenv("QUANT_CONF_DIR", str(empty))
    assert f"{empty / 'base.yaml'} is missing; set QUANT_CONF_DIR" in refused("mine")


def test_a_misspelt_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_PROFIL", "files")
    with pytest.raises(
        SettingsError, match="environment variable QUANT_PROFIL is unknown; did you mean one of QUANT_PROFILE"
    ):
        load_settings()
