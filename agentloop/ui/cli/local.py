"""`agentloop local`: our own fine-tuning and chat provider."""

import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from agentloop.base.errors import ConfigError
from agentloop.base.records.version import key_variable
from agentloop.base.settings import Settings
from agentloop.ui.cli.output import AsJson, document, say, speaking

local = typer.Typer(no_args_is_help=True, help="Our own fine-tuning and chat provider.")


@local.callback()
def _group() -> None:
    """Our own fine-tuning and chat provider."""


@local.command()
def serve(
    root: Annotated[
        Path | None, typer.Option(help="Where files, jobs and models are kept.")
    ] = None,
    base: Annotated[
        list[str] | None,
        typer.Option(help="A base model, as NAME=FOLDER of Hugging Face's form. Repeatable."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address; beyond loopback AGENTLOOP_LOCAL_KEY must be set.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8421,
    warm: Annotated[
        bool, typer.Option(help="Keep a training process ready; costs memory, saves seconds.")
    ] = True,
    save_every: Annotated[
        float, typer.Option(min=0, help="Seconds of training that a crash may cost, about.")
    ] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Serve OpenAI's files, fine-tuning and chat API over TRL. The tiny base is always there.

    Who is to be told by webhook that a job has ended is named in the environment:
    AGENTLOOP_LOCAL_WEBHOOK_URL and AGENTLOOP_LOCAL_WEBHOOK_SECRET (whsec_… as at OpenAI).

    Example: agentloop local serve --base qwen=/models/Qwen3-0.6B
    """
    with speaking():
        folder = root or Settings.read().local_root
        bases = dict(_base(text) for text in base or ())
        needs()
        from agentloop.local.queue.courier import Webhook
        from agentloop.local.serve import Server
        from agentloop.local.tiny import NAME
        from agentloop.local.tiny import folder as tiny

        models = {NAME: tiny(), **bases}
        logging.basicConfig(level=os.environ.get("AGENTLOOP_LOG", "WARNING").upper())
        key = os.environ.get(key_variable("local"))
        server = Server(
            folder,
            models,
            host=host,
            port=port,
            key=key,
            warm=warm,
            save_every=save_every,
            webhook=Webhook.of(os.environ),
        )
        if as_json:
            document({"url": f"{server.url}/v1", "root": str(folder), "models": list(models)})
            sys.stdout.flush()
        else:
            say(f"serving {', '.join(models)} from {folder} on {server.url}/v1")
        server.run()


def tiny_base() -> str:
    """The name of the base model that ships in the package."""
    from agentloop.local.tiny import NAME

    return NAME


def needs() -> None:
    """Raise `ConfigError` unless what the local provider runs on is installed."""
    missing = [name for name in ("torch", "trl", "fastapi", "uvicorn") if not find_spec(name)]
    if missing:
        raise ConfigError(
            f"the local provider needs {', '.join(missing)}; install the extra `local`, "
            "with torch as the constraints file has it"
        )


def _base(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    path = Path(folder)
    if not folder or not (path / "config.json").is_file():
        raise ConfigError(f"--base wants NAME=FOLDER with a config.json in it, not {text!r}")
    return name, path
