"""`agentloop models`, `gate`, `swap`, `rollback`, `trial`: which model serves, and which should."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from agentloop.base.errors import GateClosed, RecordError
from agentloop.base.records import Mark, Verdict, Version
from agentloop.loop import AgentLoop
from agentloop.ui.cli.data import told
from agentloop.ui.cli.output import AsJson, StoreUrl, document, opened, out, say, table

models = typer.Typer(no_args_is_help=True, help="Look at versions, and what made them.")
trial = typer.Typer(no_args_is_help=True, help="Compare a version with what is live, on traffic.")

VersionId = Annotated[str, typer.Argument(help="Id of a version, see `agentloop models list`.")]
Agent = Annotated[str, typer.Argument(help="Name of an agent.")]


@models.command("list")
def list_(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Every version, where it is live, and what has changed since in what it learned from.

    Example: agentloop models list
    """
    with opened(store) as loop:
        versions, aliases = loop.ledger.versions(), loop.ledger.aliases()
        marks = loop.ledger.version_marks()
    live = {v.id: sorted(a for a, id in aliases.items() if id == v.id) for v in versions}
    if as_json:
        document(
            [
                {**v.model_dump(mode="json"), "live": live[v.id], "marks": _marks(marks, v.id)}
                for v in versions
            ]
        )
    else:
        table(
            ("version", "model", "provider", "method", "dataset", "live for", "since then"),
            [
                (
                    v.id,
                    v.model,
                    v.provider,
                    v.method.value if v.method else None,
                    v.dataset,
                    ", ".join(live[v.id]) or None,
                    "; ".join(one["sentence"] for one in _marks(marks, v.id)) or None,
                )
                for v in versions
            ],
        )


@models.command()
def show(version: VersionId, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """One version.

    Example: agentloop models show v_1f…
    """
    with opened(store) as loop:
        found, marks = loop.ledger.version(version), loop.ledger.version_marks()
    if as_json:
        document({**found.model_dump(mode="json"), "marks": _marks(marks, version)})
    else:
        _fields(found)
        for one in _marks(marks, version):
            out.print(f"dataset {one['dataset']}: {one['sentence']}", markup=False)


@models.command()
def lineage(version: VersionId, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Version -> job -> dataset -> traces.

    Example: agentloop models lineage v_1f…
    """
    with opened(store) as loop:
        found = loop.lineage(version)
    if as_json:
        document(
            {
                "version": found.version.model_dump(mode="json"),
                "job": found.job.model_dump(mode="json") if found.job else None,
                "dataset": found.dataset,
                "traces": list(found.traces),
            }
        )
        return
    out.print(f"version {found.version.id}: {found.version.model}")
    if found.version.parent:
        out.print(f"  trained on version {found.version.parent}")
    if found.job:
        out.print(f"  job {found.job.id} ({found.job.provider_job}) at {found.job.plan.provider}")
    if found.dataset:
        made = found.dataset
        kept, sha = made["funnel"]["kept"], made["content_hash"]
        out.print(f"  dataset {made['dataset']}: {kept} rows, hash {sha}")
        out.print(f"  {len(found.traces)} traces, e.g. {', '.join(found.traces[:3])}")


def gate(
    version: VersionId,
    agent: Annotated[str, typer.Option(help="The agent that it would serve.")],
    improves: Annotated[
        str, typer.Option(help="Outcome that must be clearly better, or score.")
    ] = "score",
    keep: Annotated[
        list[str] | None,
        typer.Option(help="An outcome, and how much may be lost, as resolved=0.02. Repeatable."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Version to compare with; by default what is live.")
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """May a version go live? Compares held-out runs of the same tasks. Status 1 when it may not.

    Example: agentloop gate v_1f… --agent support --improves resolved --keep liked=0.02
    """
    with opened(store) as loop:
        _known(loop, agent)
        verdict = loop.gate(
            version,
            agent=agent,
            improves=improves,
            keeps=dict(_tolerance(text) for text in keep or ()),
            baseline=baseline,
        )
        if as_json:
            figures = [
                {
                    **figure.model_dump(mode="json"),
                    "difference": figure.difference,
                    "interval": list(figure.interval),
                }
                for figure in verdict.figures
            ]
            document({**verdict.model_dump(mode="json"), "figures": figures})
        else:
            for figure in verdict.figures:
                out.print(str(figure))
            out.print(f"{version}: [bold]{'open' if verdict.open else 'closed'}[/bold]")
        if not verdict.open:
            raise GateClosed(f"{version} may not go live: {'; '.join(verdict.reasons)}")


def swap(
    agent: Agent,
    version: Annotated[str, typer.Argument(help="Id of a version, or `own` for its own model.")],
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a version live for an agent; running processes follow within seconds.

    Example: agentloop swap support v_1f…
    """
    with opened(store) as loop:
        _known(loop, agent)
        loop.swap(agent, None if version == "own" else version)
        _live(loop, agent, as_json)


def rollback(agent: Agent, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Make live again what was live before.

    Example: agentloop rollback support
    """
    with opened(store) as loop:
        loop.rollback(agent)
        _live(loop, agent, as_json)


@trial.command()
def start(
    agent: Annotated[str, typer.Argument(help="An agent, or several as A,B.")],
    candidate: VersionId,
    control: Annotated[
        str | None,
        typer.Option(help="Version to compare with, or `own`; by default what is live."),
    ] = None,
    share: Annotated[float, typer.Option(help="Of the users, in (0, 1).")] = 0.1,
    metric: Annotated[str, typer.Option(help="Outcome that decides, or score.")] = "score",
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Have a version serve a share of all users, beside what is live.

    Example: agentloop trial start support v_1f… --share 0.2 --metric resolved
    """
    with opened(store) as loop:
        _known(loop, agent)
        begun = loop.trial(
            agent.split(","), candidate=candidate, control=control, share=share, metric=metric
        )
    if as_json:
        document(begun.record.model_dump(mode="json"))
    else:
        out.print(f"{begun.record.id}: {candidate} serves {share:.0%} of users of {agent}")


@trial.command()
def status(
    id: Annotated[str | None, typer.Argument(help="Id of a trial; all when absent.")] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """What the arms of a trial counted so far.

    Example: agentloop trial status trial_1f…
    """
    with opened(store) as loop:
        ids = [id] if id else [one.id for one in loop.ledger.trials()]
        verdicts = [loop.trial_of(one).verdict() for one in ids]
    _verdicts(verdicts, as_json)


@trial.command()
def stop(
    id: Annotated[str, typer.Argument(help="Id of a trial.")],
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """End a trial: all users meet what is live. Says the last verdict.

    Example: agentloop trial stop trial_1f…
    """
    with opened(store) as loop:
        verdict = loop.trial_of(id).stop()
    _verdicts([verdict], as_json)


def verdict_line(verdict: Verdict) -> str:
    """`resolved: candidate 41/50 against control 25/50, +0.320 (+0.134 to +0.479): better`."""
    low, high = verdict.interval
    return (
        f"{verdict.metric}: candidate {verdict.candidate.successes:g}/{verdict.candidate.n} "
        f"against control {verdict.control.successes:g}/{verdict.control.n}, "
        f"{verdict.difference:+.3f} ({low:+.3f} to {high:+.3f}): {verdict.says}"
    )


def _verdicts(verdicts: list[Verdict], as_json: bool) -> None:
    if as_json:
        document([verdict.model_dump(mode="json") for verdict in verdicts])
        return
    for verdict in verdicts:
        out.print(f"{verdict.trial}  {verdict_line(verdict)}")
    if not verdicts:
        say("no trial yet; `agentloop trial start` begins one")


def _live(loop: AgentLoop, agent: str, as_json: bool) -> None:
    moves = loop.ledger.moves(agent)
    live = moves[-1].version
    if as_json:
        document(
            {"agent": agent, "live": live, "moves": [m.model_dump(mode="json") for m in moves]}
        )
    else:
        out.print(f"{agent} -> {live or 'its own model'}")


def _known(loop: AgentLoop, agent: str) -> None:
    """Raise `NotFound` for an agent that never ran: on the command line that is a typing error."""
    loop.judged(agents=agent.split(","), limit=1)


def _marks(
    marks: Mapping[str, Mapping[str, tuple[Mark, ...]]], version: str
) -> list[dict[str, Any]]:
    """What has changed since in the datasets that a version learned from."""
    of = marks.get(version, {})
    return [{"dataset": id, **one} for id, found in of.items() for one in told(found)]


def _fields(version: Version) -> None:
    for name, value in version.model_dump(mode="json", exclude_none=True).items():
        out.print(f"{name:12} {value}", markup=False)


def _tolerance(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value or 0.0)
    except ValueError:
        raise RecordError(f"--keep wants NAME=NUMBER, as resolved=0.02, not {text!r}") from None
