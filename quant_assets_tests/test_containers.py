"""The containers without an engine: what their files say, and each service's command as a process of this machine, on a
real PostgreSQL, up to partitions that the daemon had computed."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from quant_assets.running.launching import CODE_LOCATION
from quant_assets.schemas import DATASETS
from quant_assets_tests.graph import PROJECT
from quant_assets_tests.tcp_postgres import DATABASE, PASSWORD, USER, free_port, tcp_postgres

COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
SECONDS = 900  # for what takes a fraction of it on a machine that is not busy
MONTH, SECTOR = "2024-06", "it"


def test_services_start_in_order_and_each_tells_when_it_is_well() -> None:
    def waits(name: str) -> dict[str, str]:
        return {other: each["condition"] for other, each in SERVICES[name].get("depends_on", {}).items()}

    well, done = "service_healthy", "service_completed_successfully"
    assert {name: waits(name) for name in SERVICES} == {
        "postgres": {},
        "init": {"postgres": well},
        "code": {"init": done},
        "daemon": {"init": done, "code": well},
        "webserver": {"init": done, "code": well},
    }
    assert set(SERVICES) - {"init"} == {name for name, service in SERVICES.items() if "healthcheck" in service}
    assert all(service["init"] for service in OURS.values())
    assert SERVICES["code"]["stop_grace_period"]
    assert {name: service["restart"] for name, service in SERVICES.items()} == {
        name: "no" if name == "init" else "unless-stopped" for name in SERVICES
    }


def test_all_of_ours_see_the_same_settings_storage_and_database() -> None:
    environments = [service["environment"] for service in OURS.values()]
    assert all(each == environments[0] for each in environments)
    assert all(service["volumes"] == SERVICES["code"]["volumes"] for service in OURS.values())
    assert all(service["env_file"] == [{"path": ".env", "required": False}] for service in OURS.values())
    paths = {"QUANT_DATA_DIR", "QUANT_CONF_DIR", "QUANT_BASE_DIR", "QUANT__STORAGE"}
    assert paths <= environments[0].keys(), "they win over the host's in .env"
    mounted = {volume.removesuffix(":ro").rpartition(":")[2] for volume in OURS["code"]["volumes"]}
    assert {environments[0]["QUANT_DATA_DIR"], environments[0]["QUANT_CONF_DIR"]} <= mounted
    assert environments[0]["DAGSTER_HOME"].startswith("/app/storage/"), "which is a volume"
    user, database = (
        SERVICES["postgres"]["environment"]["POSTGRES_USER"],
        SERVICES["postgres"]["environment"]["POSTGRES_DB"],
    )
    assert environments[0]["QUANT__DAGSTER__URL"] == f"postgresql://{user}@postgres:5432/{database}"


def test_no_file_holds_a_password_and_only_the_web_ui_has_a_port_on_loopback() -> None:
    text = (PROJECT / "docker-compose.yml").read_text(encoding="utf-8")
    for found in re.findall(r"PASSWORD: (.*)", text):
        assert found.startswith("${POSTGRES_PASSWORD:?"), "and Compose refuses to start without one"
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "webserver": ["127.0.0.1:3000:3000"]
    }


def test_devices_are_given_to_those_that_need_them_alone() -> None:
    override = yaml.safe_load((PROJECT / "docker-compose.gpu.yml").read_text(encoding="utf-8"))["services"]
    assert set(override) == {"init", "code"} < set(OURS)
    for service in override.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    argument = next(iter(override["code"]["build"]["args"]))
    assert f"ARG {argument}=https://" in (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    assert not any("deploy" in service for service in SERVICES.values()), "without NVIDIA's runtime it starts too"


def test_the_code_location_has_the_name_by_which_the_command_knows_it() -> None:
    (found,) = yaml.safe_load((PROJECT / "conf" / "containers.yaml").read_text(encoding="utf-8"))["load_from"]
    assert found["grpc_server"]["location_name"] == CODE_LOCATION
    assert f"-m {CODE_LOCATION} --location-name {CODE_LOCATION} " in SERVICES["code"]["command"]
    variables = {each["env"] for each in found["grpc_server"].values() if isinstance(each, dict)}
    assert variables <= set(SERVICES["code"]["environment"])


class Machine:
    """The services as processes of this machine: names of services stand for the loopback address, ports are free ones,
    folders of containers are those of the test."""

    def __init__(self, folder: Path, database: int) -> None:
        self.folder, self.storage = folder, folder / "storage"
        self.web, code = free_port(), free_port()
        self._replaced = {
            "@postgres:5432": f"@127.0.0.1:{database}",
            "0.0.0.0": "127.0.0.1",  # noqa: S104
            "/app/storage": str(self.storage),
            "-p 4000": f"-p {code}",
            "3000": str(self.web),
        }
        given = {"POSTGRES_PASSWORD": PASSWORD, "QUANT_PROFILE": "demo"}
        found = {name: self._here(str(value), given) for name, value in SERVICES["code"]["environment"].items()}
        found |= {"CODE_SERVER_HOST": "127.0.0.1", "CODE_SERVER_PORT": str(code), "QUANT_DATA_DIR": str(folder)}
        found |= {"QUANT_CONF_DIR": str(PROJECT / "conf"), "QUANT_BASE_DIR": str(PROJECT)}
        # What a small month needs beside what the file says.
        found |= {
            "QUANT__STORAGE": str(self.storage),
            "QUANT__AS_OF": "2024-06-28",
            "QUANT__PARTITIONS__START": "2024-06",
        }
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = os.environ | found | {"PYTHONPATH": str(PROJECT), "PATH": path}
        self.running: dict[str, psutil.Popen] = {}

    def _here(self, text: str, given: Mapping[str, str] = {}) -> str:
        """A value of the file with Compose's `${NAME:-default}` and `${NAME:?message}` put in, and places of here."""
        text = re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda found: given.get(found[1], found[2] or ""), text)
        for there, here in self._replaced.items():
            text = text.replace(there, here)
        return text

    def command(self, text: str) -> list[str]:
        words = shlex.split(self._here(text))
        return [sys.executable, "-m", "quant_assets.cli", *words[1:]] if words[0] == "quant" else words

    def call(self, text: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = self.command(text)
        done = subprocess.run(
            command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=False, timeout=SECONDS
        )
        assert done.returncode == 0 or not check, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        return done

    def start(self, *names: str) -> None:
        """Start services beside each other, and wait until the health check of each says that it is well."""
        for name in names:
            self._begin(name)
        for name in names:
            self._wait(name)

    def _begin(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as file:
            self.running[name] = psutil.Popen(
                self.command(SERVICES[name]["command"]),
                cwd=PROJECT,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, name: str) -> None:
        log, deadline = self.folder / f"{name}.log", time.monotonic() + SECONDS
        while self.call(SERVICES[name]["healthcheck"]["test"], check=False).returncode:
            assert self.running[name].poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
            time.sleep(2)

    def stop(self) -> None:
        for process in reversed(self.running.values()):
            try:
                left = [process, *process.children(recursive=True)]
                os.killpg(process.pid, signal.SIGTERM)
            except (psutil.NoSuchProcess, ProcessLookupError):  # it ended by itself, which a test has told
                continue
            for each in psutil.wait_procs(left, 30)[1]:
                each.kill()
            psutil.wait_procs(left, 30)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    assert SERVICES["postgres"]["environment"]["POSTGRES_USER"] == USER
    assert SERVICES["postgres"]["environment"]["POSTGRES_DB"] == DATABASE
    with tcp_postgres() as port:
        made = Machine(tmp_path, port)
        try:
            yield made
        finally:
            made.stop()


@pytest.mark.slow
@pytest.mark.nightly
def test_every_services_command_runs_and_the_daemon_computes_what_is_asked_for(machine: Machine) -> None:
    home = Path(machine.environment["DAGSTER_HOME"])
    assert machine.call(SERVICES["init"]["command"]).stdout == f"{home}\n"
    machine.start("code")
    machine.start("daemon", "webserver")
    url = f"http://127.0.0.1:{machine.web}/graphql"
    asked = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
    nodes = httpx.post(url, json={"query": asked}, timeout=60).json()["data"]["repositoriesOrError"]["nodes"]
    assert [each["location"]["name"] for each in nodes] == [CODE_LOCATION]

    # As a person does it: `docker compose exec code quant run …`.
    machine.call(f"quant run -s {SECTOR} --from {MONTH} --to {MONTH} --select fundamentals,universe --submit")
    asked = "{ runsOrError { ... on Runs { results { status tags { key value } } } } }"
    runs = httpx.post(url, json={"query": asked}, timeout=60).json()["data"]["runsOrError"]["results"]
    assert runs
    assert {run["status"] for run in runs} == {"SUCCESS"}
    assert all({"key": f"quant/writes/{SECTOR}", "value": "true"} in run["tags"] for run in runs)
    for name in ("fundamentals", "universe"):
        place = machine.storage / "demo" / name / DATASETS[name].grain.folder(f"{MONTH}|{SECTOR}")
        assert list(place.glob("*.parquet"))

    # The records are in PostgreSQL, the password in no file of the instance.
    assert not (home / "history").exists()
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if PASSWORD in path.read_text(errors="replace")]
    again = machine.call(SERVICES["init"]["command"])
    assert again.stdout == f"{home}\n"
    assert f"the Dagster instance {home} exists" in again.stderr, "a second `up` finds it"
