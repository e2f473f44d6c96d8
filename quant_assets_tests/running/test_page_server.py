"""Pages over HTTP: what is served, and what is refused: other files, other storages, other sites, other names."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from quant_assets.errors import SettingsError
from quant_assets.page_links import is_page, page_link, place
from quant_assets.profile import Profile
from quant_assets.running.page_server import PageServer
from quant_assets.settings.loading import load_settings

PAGE = "ops_report/it/2024-06/report.html"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageServer]:
    """Of a storage with a page, a secret beside the pages, and a link that leads out."""
    monkeypatch.setenv("QUANT__STORAGE", str(tmp_path))
    profile = Profile(load_settings("demo"))
    profile.store.write_artifact(PAGE, b"<!doctype html>page")
    profile.store.write_artifact("settings/secret.json", b"secret")
    (tmp_path / "secret.html").write_text("secret", encoding="utf-8")
    (tmp_path / "demo" / "artifacts" / "folder.html").mkdir()
    (tmp_path / "demo" / "artifacts" / "out.html").symlink_to(tmp_path / "secret.html")
    with PageServer(profile, 0) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def get(server: PageServer, path: str, **headers: str) -> httpx.Response:
    """The path goes out as it is: httpx would resolve what leads upwards."""
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        given = {"Host": "127.0.0.1:3001", **{name.replace("_", "-"): value for name, value in headers.items()}}
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        connection.sendall(f"GET {path} HTTP/1.0\r\n{lines}\r\n".encode())
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    received = {name: value for name, _, value in (each.partition(": ") for each in fields)}
    return httpx.Response(int(status.split()[1]), headers=received, content=body)


def test_a_link_leads_to_the_page_which_is_shown_alone_and_reaches_nothing(server: PageServer) -> None:
    settings = server.profile.settings
    link = httpx.URL(page_link(settings, PAGE))
    assert (link.host, link.port) == ("127.0.0.1", settings.dagster.pages_port)
    found = get(server, link.raw_path.decode(), Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="document")
    assert (found.status_code, found.text) == (200, "<!doctype html>page")
    assert found.headers["Content-Type"].startswith("text/html")
    assert found.headers["Content-Security-Policy"] == "sandbox allow-scripts allow-popups; frame-ancestors 'none'"
    assert "Access-Control-Allow-Origin" not in found.headers
    assert httpx.head(f"http://127.0.0.1:{server.server_port}{link.path}").status_code == 200
    assert httpx.post(f"http://127.0.0.1:{server.server_port}{link.path}").status_code == 501


def test_nothing_but_pages_of_this_storage_is_served(server: PageServer) -> None:
    own = place(server.profile.settings)
    for path in (
        f"/{own}/settings/secret.json",
        f"/{own}/../../secret.html",
        f"/{own}/..%2f..%2fsecret.html",
        f"/{own}/%2e%2e/%2e%2e/secret.html",
        f"/{own}//{server.profile.store.url}/artifacts/{PAGE}",
        f"/{own}/out.html",
        f"/{own}/folder.html",
        f"/{own}/{PAGE}/x.html",
        f"/{own}/{'x' * 300}.html",
        f"/{own}/%00.html",
        f"/demo-00000000/{PAGE}",
        f"/{own}/ops_report/it/2024-07/report.html",
        f"/{own}/",
    ):
        assert get(server, path).status_code == 404, path
    for root in ("/", f"/{own}", f"/{own}/"):
        assert get(server, root).text.startswith("No list of pages is stored yet: quant run -p demo writes pages"), root
    assert get(server, f"/demo-00000000/{PAGE}").text.startswith("No such page in the storage of profile demo.")
    server.profile.store.write_artifact("index.html", b"list")
    assert get(server, f"/{own}/").text == get(server, "/").text == "list"
    assert not any(map(is_page, ("a/../b.html", ".a.html", "/a.html", "a//b.html", "a.html/..", "a.json", "a\\b.html")))


def test_other_sites_and_other_names_of_this_machine_are_refused(server: PageServer) -> None:
    path = f"/{place(server.profile.settings)}/{PAGE}"
    assert get(server, path, Host="rebound.example").status_code == 421
    assert get(server, path, Host="127.0.0.1.example:3001").status_code == 421
    assert get(server, path, Host="[::1").status_code == 421
    assert get(server, path, Host="localhost:3001").status_code == 200
    assert get(server, path, Origin="https://example.org").status_code == 403
    assert get(server, path, Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="iframe").status_code == 403


def test_a_port_that_is_taken_is_named(server: PageServer) -> None:
    with pytest.raises(SettingsError, match=rf"port {server.server_port} is in use.*QUANT__DAGSTER__PAGES_PORT"):
        PageServer(server.profile, server.server_port)


def test_another_storage_has_other_addresses(
    server: PageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT__STORAGE", str(tmp_path / "other"))
    assert place(load_settings("demo")) != place(server.profile.settings)
