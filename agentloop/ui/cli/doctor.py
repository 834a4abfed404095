"""`agentloop doctor`: what is installed, what can be reached, and what to do."""

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from agentloop.base.errors import AgentloopError
from agentloop.base.records.version import key_variable
from agentloop.base.settings import Settings
from agentloop.loop import AgentLoop
from agentloop.ui.cli.output import AsJson, StoreUrl, document, say, speaking, table

NEEDS = {
    "openai-agents": "core",
    "openai": "core",
    "torch": "local",
    "trl": "local",
    "datasets": "export",
    "psycopg": "postgres",
    "bpe-openai": "tokens",
}
"""Package -> the extra that brings it."""


def doctor(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """What is installed, what can be reached, and what to do about the rest.

    Example: agentloop doctor
    """
    with speaking():
        settings = Settings.read()
        found = [*_packages(), _store(store or settings.database_url), _local(settings)]
        found.append(_openai())
    if as_json:
        document(found)
    else:
        table(
            ("", "what", "state", "what to do"),
            [("ok" if f["ok"] else "--", f["what"], f["state"], f["do"]) for f in found],
        )
    if any(not f["ok"] and f["needed"] for f in found):
        say("error: something that is needed is missing")
        raise typer.Exit(1)


def _finding(what: str, ok: bool, state: str, do: str = "", *, needed: bool = False) -> Any:
    return {"what": what, "ok": ok, "state": state, "do": "" if ok else do, "needed": needed}


def _packages() -> list[Any]:
    found = []
    for name, extra in NEEDS.items():
        try:
            found.append(_finding(name, True, version(name)))
        except PackageNotFoundError:
            do = f"install the extra `{extra}` to use it"
            found.append(_finding(name, False, "not installed", do, needed=extra == "core"))
    return found


def _store(url: str) -> Any:
    try:
        with AgentLoop(url, create=False) as loop:
            return _finding("store", True, f"{loop.store.name}, {loop.store.count()} traces")
    except AgentloopError as error:
        return _finding("store", False, str(error), "")


def _local(settings: Settings) -> Any:
    import httpx2

    variable = key_variable("local")
    key = os.environ.get(variable, "none")
    try:
        answer = httpx2.get(
            f"{settings.local_url}/models", headers={"Authorization": f"Bearer {key}"}, timeout=2.0
        )
        if answer.status_code == httpx2.codes.UNAUTHORIZED:
            state = f"{settings.local_url} wants a key"
            return _finding("local provider", False, state, f"set {variable} to the server's")
        names = [model["id"] for model in answer.raise_for_status().json()["data"]]
        return _finding("local provider", True, f"{settings.local_url}: {len(names)} models")
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, LookupError, TypeError):
        state = f"does not answer at {settings.local_url}"
        return _finding("local provider", False, state, "start it with `agentloop local serve`")


def _openai() -> Any:
    there = bool(os.environ.get("OPENAI_API_KEY"))
    state = "OPENAI_API_KEY is set" if there else "OPENAI_API_KEY is not set"
    return _finding("openai provider", there, state, "export it to tune or run models there")
