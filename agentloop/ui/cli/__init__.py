"""`agentloop` on the command line. One command per verb; each is parse, call, print."""

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from agentloop import __version__
from agentloop.ui.cli import (
    calibration,
    data,
    demo,
    doctor,
    learning,
    lineage,
    local,
    release,
    store,
    tools,
    traces,
    tuning,
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Run agents, learn from them, swap in what learned.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"agentloop {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Run agents, learn from them, swap in what learned."""
    del version  # its callback has answered
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a character that it cannot print is no error
            stream.reconfigure(errors="backslashreplace")


app.command()(demo.demo)
app.command()(doctor.doctor)
app.command("import")(traces.import_)
app.add_typer(traces.traces, name="traces")
app.command()(traces.rate)
app.command()(traces.correct)
app.command()(traces.outcome)
app.add_typer(traces.feedback, name="feedback")
app.add_typer(store.store, name="store")
app.command()(learning.advise)
app.command()(learning.harvest)
app.add_typer(data.data, name="data")
learning.grader.command()(calibration.calibrate)
app.add_typer(learning.grader, name="grader")
app.command()(tuning.tune)
app.add_typer(tuning.jobs, name="jobs")
app.add_typer(release.models, name="models")
app.command()(release.gate)
app.command()(release.swap)
app.command()(release.rollback)
app.add_typer(release.trial, name="trial")
app.command()(lineage.erase)
app.add_typer(local.local, name="local")
app.add_typer(tools.tools, name="tools")
