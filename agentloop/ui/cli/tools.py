"""`agentloop tools`: an agent's tools, for models in training to call."""

import os
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from agentloop.base.errors import ConfigError
from agentloop.ui.cli.output import AsJson, document, say, speaking

tools = typer.Typer(no_args_is_help=True, help="An agent's tools, for models in training to call.")

KEY = "AGENTLOOP_TOOLS_KEY"


@tools.callback()
def _group() -> None:
    """An agent's tools, for models in training to call."""


@tools.command()
def serve(
    name: Annotated[
        str, typer.Argument(help="An agent, or a list of tools.", metavar="MODULE:ATTRIBUTE")
    ],
    host: Annotated[
        str, typer.Option(help=f"Address; beyond loopback {KEY} must be set.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8422,
    as_json: AsJson = False,
) -> None:
    """Serve Python tools in the wire form of OpenAI's agent RFT.

    A job names it: "tools": [{"name": "get_order", "server_url": "http://127.0.0.1:8422"}] in
    method.reinforcement. Rows offer the schemas that GET /tools gives.

    Example: agentloop tools serve shop.agents:support
    """
    with speaking():
        for module in ("fastapi", "uvicorn"):
            if find_spec(module) is None:
                raise ConfigError("serving needs the extra: pip install 'openagentloop[local]'")
        import uvicorn

        from agentloop.ui.tools import LOOPBACK, create_app, load

        key = os.environ.get(KEY) or None
        if host not in LOOPBACK and key is None:
            raise ConfigError(f"listening on {host!r} lets others in: set {KEY}, or take 127.0.0.1")
        found = load(name)
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        names = [tool.name for tool in found]
        if as_json:
            document({"url": url, "tools": names})
            sys.stdout.flush()
        else:
            say(f"serving {', '.join(names)} on {url}")
        uvicorn.run(create_app(found, key=key), host=host, port=port, log_level="warning")
