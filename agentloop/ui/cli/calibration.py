"""`agentloop grader calibrate`: whether a grader says what people say."""

from pathlib import Path
from typing import Annotated

import typer

from agentloop.graders import Calibration
from agentloop.ui.cli.learning import Agents, read_grader
from agentloop.ui.cli.output import (
    AsJson,
    StoreUrl,
    document,
    indented,
    labelled,
    opened,
    out,
    table,
)


def calibrate(
    file: Annotated[Path, typer.Argument(help="A grader in OpenAI's JSON.")],
    agent: Agents,
    good: Annotated[
        float | None, typer.Option(min=0, max=1, help="Lowest verdict of people that passes.")
    ] = None,
    passes: Annotated[
        float | None,
        typer.Option(help="Lowest reward that passes.", show_default="the grader's pass_threshold"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many answers, newest first.")] = 500,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Ask the judge once an answer; it may cost money.")
    ] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """How far a grader agrees with what people said of an agent's answers, and what to do next.

    Example: agentloop grader calibrate grader.json support
    """
    with opened(store) as loop:
        told = {} if good is None else {"good": good}
        found = loop.calibrate(
            read_grader(file), agent=agent, passes=passes, limit=limit, confirm=confirm, **told
        )
    if as_json:
        document(found.model_dump(mode="json"))
    else:
        _tell(found, file)


def _tell(found: Calibration, file: Path) -> None:
    out.print(f"{found.grader} and people: [bold]{found.says}[/bold]")
    indented(*found.found)
    figures = {
        "accuracy": found.accuracy,
        "kappa": found.kappa,
        "spearman": found.spearman,
    }
    if found.counts:
        out.print()
        labelled((name, str(figure) if figure else "-") for name, figure in figures.items())
    if found.apart:
        out.print()
        rows = [(one.trace, one.people, one.reward) for one in found.apart]
        table(("trace", "people", "reward"), rows)
    out.print()
    out.print(f"next: {found.next.replace('FILE', str(file))}", markup=False)
