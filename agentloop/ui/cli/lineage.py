"""`agentloop data diff`, `data row`, and `erase`: what changed, where a row came from, and how it
all goes."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from agentloop.base.errors import ConfigError
from agentloop.rooms import Origin
from agentloop.ui.cli.data import data
from agentloop.ui.cli.difference import tell
from agentloop.ui.cli.output import AsJson, StoreUrl, document, opened, out

Side = Annotated[str, typer.Argument(help="Id of a dataset, or the folder of a harvest.")]


@data.command()
def diff(a: Side, b: Side, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """What lies between two datasets: rows, recipe, refusals.

    Rows are compared by their bytes, and their order is not looked at; one that was made from the
    same calls and says something else has changed.

    Example: agentloop data diff sft-3f09a1b2c4d5 sft-77c1e0aa91b2
    """
    with opened(store) as loop:
        found = loop.difference(a, b)
    if as_json:
        document(found.model_dump(mode="json"))
    else:
        tell(found)


@data.command()
def row(
    dataset: Annotated[str, typer.Argument(help="Id of a dataset.")],
    line: Annotated[
        str,
        typer.Argument(help="A line of train.jsonl (12), of a file (valid:3), or of the sha256."),
    ],
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """One row, and where it came from: traces, calls, opinions; and who learned from it.

    Example: agentloop data row sft-3f09a1b2c4d5 12
    """
    with opened(store) as loop:
        found = loop.origin(dataset, line)
    if as_json:
        document(_origin(found))
        return
    place, said = found.stored.place, found.stored.row
    out.print(f"[bold]{dataset}[/bold]  {place.file}:{place.line}  sha256 {found.stored.sha256}")
    if said is None:
        out.print("what it said was erased")
        return
    out.print(said.line, markup=False)
    there = {one.trace.id: one for one in found.judged}
    for id in said.traces:
        if (one := there.get(id)) is None:
            out.print(f"trace {id}: no longer stored", markup=False)
            continue
        score = "not judged" if one.score is None else f"settles at {one.score:.2f}"
        user = f", user {one.trace.user}" if one.trace.user else ""
        out.print(f"trace {id}: agent {one.trace.agent}{user}, {score}", markup=False)
        for outcome in one.outcomes:
            out.print(f"  outcome {outcome.name}: {outcome.value}", markup=False)
    for call in found.calls:
        out.print(
            f"call {call.id}: {call.agent} -> {call.served_model or call.model}", markup=False
        )
    for opinion in found.opinions:
        parts = (opinion.score, opinion.comment, opinion.correction and opinion.correction.text)
        words = " ".join(str(part) for part in parts if part is not None)
        out.print(f"opinion of {opinion.source} {opinion.author}: {words}", markup=False)
    out.print(f"versions {', '.join(found.versions) or 'none'}")


def _origin(found: Origin) -> dict[str, Any]:
    def plain(records: Iterable[Any]) -> list[Any]:
        return [one.model_dump(mode="json", exclude_none=True) for one in records]

    place, said = found.stored.place, found.stored.row
    return {
        "dataset": found.dataset,
        "file": place.file,
        "line": place.line,
        "sha256": found.stored.sha256,
        "row": said.model_dump(mode="json", exclude_none=True) if said else None,
        "traces": plain(found.judged),
        "calls": plain(found.calls),
        "opinions": plain(found.opinions),
        "versions": list(found.versions),
    }


def erase(
    user: Annotated[str, typer.Option(help="Whose runs and words are to go.")],
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Do it. Without: say what would go.")
    ] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Erase a user from the store: runs, feedback, and what datasets hold of them.

    Datasets keep their manifest and the hashes of their rows; `agentloop harvest --update` makes
    the next version of one. Without --confirm nothing is changed, and the status is 1.

    Example: agentloop erase --user u7 --confirm
    """
    with opened(store) as loop:
        done = loop.erase(user=user, confirm=confirm)
        if as_json:
            document(done.model_dump(mode="json"))
        else:
            would = "erased" if confirm else "would go"
            out.print(
                f"{would}: {done.traces} traces, {done.calls} calls, {done.opinions} opinions, "
                f"{done.outcomes} outcomes, {done.messages} messages, {done.media} media"
            )
            if done.renamed:
                out.print(f"{done.renamed} scores of runs of others get a pseudonym")
            for dataset, rows in done.rows.items():
                out.print(f"dataset {dataset}: {rows} rows", markup=False)
            for left in done.left:
                out.print(f"left: {left}", markup=False)
        if not confirm:
            raise ConfigError(f"nothing was erased of {user!r}; --confirm does it")
