"""Settings: environment before file, and every mistake named."""

from typing import Any

import pytest

from agentloop.base.errors import ConfigError
from agentloop.base.settings import Settings


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_without_anything_the_defaults_hold():
    assert Settings.read().database_url == "sqlite:///traces/loop.db"


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    (tmp_path / "agentloop.toml").write_text('database_url = "sqlite:///file.db"\ngood = 0.9\n')
    monkeypatch.setenv("AGENTLOOP_DATABASE_URL", "sqlite:///environment.db")
    settings = Settings.read()
    assert (settings.database_url, settings.good) == ("sqlite:///environment.db", 0.9)


def test_an_empty_variable_is_as_good_as_none(monkeypatch):
    monkeypatch.setenv("AGENTLOOP_DATABASE_URL", "")
    assert Settings.read().database_url == "sqlite:///traces/loop.db"


def test_a_key_in_the_environment_is_no_setting(monkeypatch):
    monkeypatch.setenv("AGENTLOOP_LOCAL_KEY", "secret")
    assert "secret" not in repr(Settings.read())


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ('colour = "red"', r"setting colour"),
        ("good = 1.5", r"setting good: .*less than or equal to 1"),
        ("bad = nan", r"setting bad"),
        ("good = 0.1", r"bad \(0.2\) must lie below good \(0.1\)"),
        ('good = "much"', r"setting good"),
        ("good = ", r"agentloop.toml is no TOML"),
        (b"\xff", r"agentloop.toml is no TOML"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path, file, why):
    content = file if isinstance(file, bytes) else file.encode()
    (tmp_path / "agentloop.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        Settings.read()


def test_settings_are_frozen():
    settings: Any = Settings.read()
    with pytest.raises(ValueError, match="frozen"):
        settings.good = 0.5
