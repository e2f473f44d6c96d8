"""The records in a PostgreSQL by URL, for real: over TCP with a password, and every way in which it may be refused."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from quant_assets.errors import SettingsError
from quant_assets.io.binding import RECORD
from quant_assets.running.instance import dagster_home, existing_instance, initialise_instance, kept_elsewhere, records
from quant_assets.running.own_postgres import VARIABLE, UnreachableError
from quant_assets.settings.loading import load_settings
from quant_assets_tests.graph import PROJECT
from quant_assets_tests.tcp_postgres import PASSWORD, QUOTED, USER, free_port, tcp_postgres, url_at


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with tcp_postgres() as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QUANT__STORAGE", str(tmp_path / "data"))
    return tmp_path / "home"


def secrets_in(text: str) -> list[str]:
    return [secret for secret in (PASSWORD, QUOTED, "wörd", "w%C3%B6rd") if secret in text]


@pytest.mark.slow
def test_a_new_instance_keeps_its_records_there_and_no_file_of_it_the_password(
    home: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, url_at(port))
    assert dagster_home("demo") == home
    assert records(home) == "url"
    initialise_instance()
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("ohlcv", partition="2024-06|it"))
        assert not secrets_in(instance.info_str()), "which the web UI shows"
        assert not secrets_in(str(instance.get_ref())), "which processes are started with"
    with existing_instance(load_settings("demo")) as again:
        assert again is not None
        assert again.get_materialized_partitions(dg.AssetKey("ohlcv")) == {"2024-06|it"}
    config = yaml.safe_load((home / "dagster.yaml").read_text())
    assert config["storage"]["custom"]["config"] == {"url": {"env": VARIABLE}}
    assert config["telemetry"] == {"enabled": False}, "the template's lines are there too"
    assert not (home / "history").exists(), "no SQLite"
    assert not (home / "postgres").exists(), "no embedded server"
    assert not [path for path in home.rglob("*") if path.is_file() and secrets_in(path.read_text(errors="replace"))]
    assert not secrets_in(repr(load_settings("demo"))), "as a traceback shows it"

    # Without the variable, and as the database of another storage.
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(SettingsError, match=rf"in the PostgreSQL that {VARIABLE} names, which is not set; set it"):
        initialise_instance()
    assert kept_elsewhere(home, load_settings("demo")) == (
        f"Dagster's records stay in the PostgreSQL of dagster.url, by {home}/dagster.yaml, not in its own PostgreSQL "
        "(dagster.storage, dagster.url); move that folder away to change it"
    )
    monkeypatch.setenv(VARIABLE, url_at(port))
    assert kept_elsewhere(home, load_settings("demo")) is None
    before = (home / RECORD).read_text()
    (home / RECORD).write_text("/another/storage\n")
    with pytest.raises(SettingsError, match=r"keeps the records of .*/data/demo, not of /another/storage; give each"):
        initialise_instance()
    (home / RECORD).write_text(before)
    initialise_instance()


@pytest.mark.slow
def test_what_is_wrong_with_the_server_is_one_line_that_names_it_and_no_login(
    home: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = free_port()
    for url, said in {
        url_at(nobody): rf"127\.0\.0\.1:{nobody}/records, cannot be used: connection refused; fix that or QUANT__",
        url_at(port, f"{USER}:wrong{QUOTED}"): r"cannot be used: password authentication failed; ",
        url_at(port, USER): r"cannot be used: no password supplied; ",
        url_at(port, database="nothing"): rf":{port}/nothing, cannot be used: there is no such database or user; ",
        f"{url_at(port)}?sslmode=require": r"cannot be used: does not support ssl",
        f"postgresql://{USER}:{QUOTED}@no-such-host.invalid/d": r"cannot be used: could not translate host name",
    }.items():
        (home / "dagster.yaml").unlink(missing_ok=True)
        monkeypatch.setenv(VARIABLE, url)
        dagster_home("demo")
        with pytest.raises(UnreachableError, match=said) as refused:
            initialise_instance()
        assert not secrets_in(str(refused.value))
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:geheim@host/records",
        "postgresql://u:gehe@im@host/records",
        "postgresql://u:geh/eim@host/records",
        "postgresql://u:geheim@host:port/records",
        "postgresql://u:geheim@host",
        "postgresql+psycopg://u:geheim@host/records",
        "geheim",
    ],
)
def test_a_setting_that_is_no_url_of_postgresql_is_refused_without_being_shown(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, url)
    with pytest.raises(SettingsError, match=r"^setting dagster\.url .* it is no URL of a PostgreSQL database") as error:
        load_settings("demo")
    assert not re.search("geh|eim|im@", str(error.value))


def test_a_password_in_a_file_of_settings_is_refused_and_a_url_without_one_stands_in_the_home(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def given(url: str) -> None:
        conf = Path(tempfile.mkdtemp(dir=tmp_path))
        shutil.copytree(PROJECT / "conf", conf, dirs_exist_ok=True)
        with (conf / "profiles" / "demo.yaml").open("a") as file:
            file.write(f"\ndagster: {{url: '{url}'}}\n")
        monkeypatch.setenv("QUANT_CONF_DIR", str(conf))

    for url in ("postgresql://u:geheim@host/records", "postgresql://host/records?password=geheim"):
        given(url)
        with pytest.raises(SettingsError, match=rf"dagster\.url holds a password; take it .* as {VARIABLE}") as error:
            dagster_home("demo")
        assert "geheim" not in str(error.value)
        assert not home.exists()
    given("postgresql://u@host/records")
    dagster_home("demo")
    config = yaml.safe_load((home / "dagster.yaml").read_text())
    assert config["storage"]["custom"]["config"] == {"url": "postgresql://u@host/records"}
