"""The server as a program: keys, ports, folders, signals."""

import json
import re
import signal
import socket
import threading

import httpx2
import openai
import pytest
from typer.testing import CliRunner

from agentloop.base.errors import ConfigError
from agentloop.local.serve import Server
from agentloop.ui.cli import app
from tests.local.serving import served, until


@pytest.fixture
def folder(base):
    """A model folder that nothing loads in these tests."""
    return {"b": base}


def running(server):
    """The server on a thread, until the block ends."""
    thread = threading.Thread(target=server.run)
    thread.start()
    return thread


def test_it_says_where_it_listens_and_takes_that_back(tmp_path, folder):
    server = Server(tmp_path, folder, port=0, warm=False)
    thread = running(server)
    until(lambda: (tmp_path / "server.json").exists(), "the server to listen")
    about = json.loads((tmp_path / "server.json").read_text())
    assert about["url"] == server.url
    assert about["url"].endswith(f":{about['port']}")
    assert httpx2.get(f"{server.url}/health").json()["status"] == "ok"
    assert [m["id"] for m in httpx2.get(f"{server.url}/v1/models").json()["data"]] == ["b"]
    server.stop()
    thread.join(timeout=60)
    assert not (tmp_path / "server.json").exists()


def test_its_command_says_where_it_really_listens(tmp_path, monkeypatch):
    def run(server):
        server._socket.close()
        server._root.release()

    monkeypatch.setattr(Server, "run", run)
    words = ["local", "serve", "--root", str(tmp_path), "--port", "0"]
    shown = CliRunner().invoke(app, words)
    assert re.search(
        r"serving agentloop-tiny from .* on http://127.0.0.1:[1-9]\d+/v1", shown.stderr
    )
    about = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert re.fullmatch(r"http://127.0.0.1:[1-9]\d+/v1", about["url"])
    assert (about["root"], about["models"]) == (str(tmp_path), ["agentloop-tiny"])


def test_a_second_server_in_one_folder_is_refused(tmp_path, folder):
    first = Server(tmp_path, folder, port=0, warm=False)
    thread = running(first)
    until(lambda: (tmp_path / "server.json").exists(), "the server to listen")
    with pytest.raises(ConfigError, match=rf"another server \(process \d+, {first.url}\)"):
        Server(tmp_path, folder, port=0)
    first.stop()
    thread.join(timeout=60)


def test_a_port_that_is_taken_is_one_sentence_and_leaves_the_folder_free(tmp_path, folder):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
            Server(tmp_path, folder, port=port)
    with pytest.raises(ConfigError, match="cannot listen"):
        Server(tmp_path, folder, port=99999)


def test_beyond_loopback_there_is_a_key_or_no_server(tmp_path, folder):
    with pytest.raises(ConfigError, match="AGENTLOOP_LOCAL_KEY"):
        Server(tmp_path, folder, host="0.0.0.0", port=0)
    assert not list(tmp_path.iterdir())


def test_with_a_key_only_who_has_it_gets_in(tmp_path, folder):
    with served(tmp_path, folder, key="s3cret", warm=False) as server:
        with server.client(api_key="s3cret") as client:
            assert client.models.list().data
        with server.client(api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError) as caught:
                client.models.list()
            assert caught.value.code == "invalid_api_key"
        none = httpx2.get(f"{server.url}/v1/models")
        assert none.status_code == 401
        assert "didn't provide an API key" in none.json()["error"]["message"]
        assert httpx2.get(f"{server.url}/health").status_code == 200
        assert server.stop(signal.SIGTERM) == 0
    assert "s3cret" not in server.log.read_text()


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:80"},
    ],
)
def test_without_a_key_a_web_page_does_not_get_in(server, headers):
    answer = httpx2.get(f"{server.url}/v1/models", headers=headers)
    assert answer.status_code == 403
    assert "key" in answer.json()["error"]["message"]
    assert httpx2.get(f"{server.url}/v1/models", headers={"origin": server.url}).is_success


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well(tmp_path, folder, how):
    with served(tmp_path, folder, warm=False) as server:
        assert server.stop(how) == 0
    assert not (tmp_path / "server.json").exists()
    assert "Traceback" not in server.log.read_text()


def test_a_base_that_is_no_model_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"no config\.json"):
        Server(tmp_path / "root", {"b": tmp_path}, port=0)
