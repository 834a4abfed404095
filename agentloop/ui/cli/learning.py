"""`agentloop advise`, `harvest`, `grader`: what there is to learn."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from agentloop import graders, scale
from agentloop.base.errors import GraderError, RecordError
from agentloop.base.records import SERVICES, Json, Method, Refusal, Turns
from agentloop.harvest import BAND, Folder, Redactor
from agentloop.ui.cli.difference import tell
from agentloop.ui.cli.output import (
    AsJson,
    StoreUrl,
    document,
    indented,
    labelled,
    opened,
    out,
    speaking,
    table,
)

_BAND = f"{BAND[0]},{BAND[1]}"


class Engine(StrEnum):
    """What does the work of a harvest."""

    LOCAL = "local"
    RAY = "ray"


grader = typer.Typer(no_args_is_help=True, help="Check graders, and run them.")

Agents = Annotated[
    str, typer.Argument(help="Whose calls: an agent, or several as A,B.", metavar="AGENT")
]


def advise(agent: Agents, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """What to do next about an agent: prompt first, few-shot, SFT, DPO, RFT, or not yet; why, and
    what is missing for the others.

    Example: agentloop advise support
    """
    with opened(store) as loop:
        advice = loop.advise(agent)
    if as_json:
        document(advice.model_dump(mode="json"))
        return
    chosen = [one for one in advice.suggestions if one.method == advice.says]
    out.print(f"next: [bold]{advice.says}[/bold]")
    indented(advice.why, *(note for one in chosen for note in one.notes), command=advice.next)
    out.print()
    labelled(advice.evidence.lines)
    for other in (one for one in advice.suggestions if one not in chosen):
        out.print(f"\n[bold]{other.method}[/bold]: {'ready' if other.ready else 'not ready'}")
        missing = (f"missing: {other.missing}",) if other.missing else ()
        indented(other.why, *missing, *other.notes, command=other.next)


def harvest(
    ctx: typer.Context,
    to: Annotated[Path, typer.Option("--out", help="Folder for the five files.")],
    method: Annotated[
        Method | None, typer.Argument(help="What the model is to learn.", show_default=False)
    ] = None,
    agent: Annotated[
        str | None,
        typer.Argument(help="Whose calls: an agent, or several as A,B.", show_default=False),
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Which traces, e.g. 'outcome.reward >= 1 and not tag.test'.")
    ] = None,
    good: Annotated[
        float | None, typer.Option(min=0, max=1, help="Lowest score that is imitated.")
    ] = None,
    bad: Annotated[
        float | None, typer.Option(min=0, max=1, help="Highest score that is a bad example.")
    ] = None,
    turns: Annotated[
        Turns | None,
        typer.Option(
            help="For sft: learn all good turns of a path, its last, or the final answer.",
            show_default=Turns.ALL.value,
        ),
    ] = None,
    mask_errors: Annotated[
        bool,
        typer.Option("--mask-errors", help="For sft: a tool that says Error is a failed call too."),
    ] = False,
    pairs: Annotated[
        int | None,
        typer.Option(min=1, help="For dpo: at most so many pairs a context.", show_default="2"),
    ] = None,
    length_ratio: Annotated[
        float | None,
        typer.Option(min=1, help="For dpo: how many times as long as the other an answer may be."),
    ] = None,
    tool_pairs: Annotated[
        bool | None,
        typer.Option(
            "--tool-pairs/--no-tool-pairs", help="For dpo: whether to compare tool calls."
        ),
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(help="For rft: the outcome that says how a run ended.")
    ] = None,
    band: Annotated[
        str | None,
        typer.Option(help="For rft: lowest and highest pass rate.", show_default=_BAND),
    ] = None,
    producer: Annotated[
        list[str] | None,
        typer.Option(help="Whose words alone are learned: a model, or a pattern like gpt-4.1*."),
    ] = None,
    learner: Annotated[
        str | None,
        typer.Option(help="The model that is to learn: may it, by the terms of who wrote a row?"),
    ] = None,
    allow_producer: Annotated[
        list[str] | None,
        typer.Option(help="A producer whose terms you have checked; it may be learned from."),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(help=f"Who is to train: refuse what it takes not ({', '.join(SERVICES)})."),
    ] = None,
    valid: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of users whose rows validate.", show_default="0.1"),
    ] = None,
    split_by: Annotated[
        str | None,
        typer.Option(help="What is on one side only: user or conversation.", show_default="user"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows.")] = None,
    near: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="How alike two rows are that count as one; 0: equal ones alone.",
            show_default="0.9",
        ),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="A test set as JSONL: no row may be in it.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Count tokens as a model of OpenAI's, or as a folder's tokenizer."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens that are read of a row; longer: refused.")
    ] = None,
    window: Annotated[
        bool, typer.Option("--window", help="Rows too long begin at a later turn instead.")
    ] = False,
    balance: Annotated[
        str | None,
        typer.Option(help="Rows that may teach one tool: 200, or 3x for 3 times the median."),
    ] = None,
    redact: Annotated[
        bool, typer.Option(help="Put pseudonyms in place of personal data and secrets.")
    ] = True,
    pii: Annotated[
        bool, typer.Option("--pii", help="Names and places too, with Presidio (extra pii).")
    ] = False,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="What may stay, e.g. your own help@shop.com, or all of @shop.com."),
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="Here, or on Ray: to shards, from a store that all can reach.")
    ] = Engine.LOCAL,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="So many processes; for ray where RAY_ADDRESS names no cluster."),
    ] = None,
    parquet: Annotated[
        Path | None,
        typer.Option("--from", help="For ray: traces of `agentloop traces export`, no store."),
    ] = None,
    update: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET", help="Its recipe again (or its folder's), and what changed."
        ),
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Turn judged traces into rows, and say why the others gave none.

    Example: agentloop harvest sft support --where "outcome.resolved" --out data/sft

    Example: agentloop harvest --update data/sft --out data/next
    """
    if update is not None:
        sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
        given = {name for name, source in sources.items() if source and source.name != "DEFAULT"}
        if given - WITH_UPDATE:
            raise typer.BadParameter(
                "--update goes with --out, --against and --tokenizer: the recipe stays as it was"
            )
        _update(update, to, store, as_json, against=against, tokenizer=tokenizer)
        return
    if method is None or agent is None:
        raise typer.BadParameter("say METHOD and AGENT, or --update DATASET")
    if engine is Engine.LOCAL and parquet is not None:
        raise typer.BadParameter("--from goes with --engine ray")
    if not redact and (pii or keep):
        raise typer.BadParameter("--no-redact leaves everything; drop it, or --pii and --keep")
    with speaking():
        knobs: dict[str, Any] = {
            "where": where,
            "good": good,
            "bad": bad,
            "turns": turns,
            "mask_errors": mask_errors or None,
            "pairs": pairs,
            "length_ratio": length_ratio,
            "tool_pairs": tool_pairs,
            "provider": provider,
            "producers": producer or None,
            "learner": learner,
            "allow_producers": allow_producer or None,
            "outcome": outcome,
            "band": _band(band) if band is not None else None,
            "valid_share": valid,
            "split_by": split_by,
            "limit": limit,
            "near": near,
            "against": against,
            "tokenizer": tokenizer,
            "max_tokens": max_tokens,
            "window": window or None,
            "balance": int(balance) if balance and balance.isdecimal() else balance,
            "redact": Redactor.of("pii" if pii else redact, keep=keep or ()) or False,
        }
    beside: dict[str, Any] = {"workers": workers, "against": against, "tokenizer": tokenizer}
    if parquet is not None:
        with speaking():
            recipe = scale.recipe(method, agent.split(","), knobs)
            manifest = scale.run(to, recipe, scale.ParquetParts(parquet), **beside)
    else:
        with opened(store) as loop:
            recipe = loop.recipe(method, agent=agent, **knobs)
            url, ledger = loop.database_url, loop.ledger
            if engine is Engine.LOCAL and workers is not None and workers > 1:
                named = scale.names(against, tokenizer)
                manifest = scale.run_here(to, recipe, url, ledger, workers=workers, named=named)
            elif engine is Engine.LOCAL:
                manifest = loop.harvest_to(to, method, agent=agent, **knobs)
            else:
                as_of = ledger.point()
                source = scale.StoreParts(url)
                manifest = scale.run(to, recipe, source, **beside)
                scale.write_down(to, manifest, ledger, as_of=as_of)
    if as_json:
        document({**manifest, "out": str(to)})
    else:
        funnel(manifest)
        if places := manifest["replaced"]:
            told = ", ".join(f"{n} {kind}" for kind, n in places.items())
            out.print(f"replaced by pseudonyms: {told}; what may stay: --keep")
        taught(manifest)
        out.print(f"{manifest['dataset']} -> {to}")


WITH_UPDATE = {"update", "to", "store", "as_json", "against", "tokenizer"}


def _update(
    dataset: str, to: Path, store: str | None, as_json: bool, **named: Path | str | None
) -> None:
    with opened(store) as loop:
        if (was := Path(dataset)).is_dir():
            dataset = str(Folder(was).manifest["dataset"])
        found = loop.harvest_again(dataset, folder=to, **named)
        manifest = loop.ledger.manifest(found.b)
    if as_json:
        difference = found.model_dump(mode="json")
        document({**manifest, "out": str(to), "difference": difference})
    else:
        funnel(manifest)
        tell(found)
        out.print(f"{found.b} -> {to}, the next version of {dataset}", markup=False)


def funnel(manifest: Json) -> None:
    """What came in, what was kept, and a count for each reason."""
    came, rows = manifest["funnel"], manifest["rows"]
    out.print(
        f"{manifest['method']}: {came['traces']} traces -> {came['considered']} considered -> "
        f"{came['kept']} rows ({rows['train']} to train on, {rows['valid']} to validate with)"
    )
    table(
        ("refused", "reason", "what to do"),
        [(n, code, Refusal(code).sentence) for code, n in manifest["refused"].items()],
    )


NAMED = 8
"""Classes that are named."""


def taught(manifest: Json) -> None:
    """How many rows teach what, and how many tokens there are where they were counted."""
    rows = manifest["teaches"]
    told = [f"{n} {name}" for name, n in list(rows.items())[:NAMED]]
    if len(rows) > NAMED:
        told.append(f"{len(rows) - NAMED} more")
    if len(rows) > 1:
        out.print(f"rows that teach: {', '.join(told)}; fewer of the frequent: --balance")
    if tokens := manifest["tokens"]:
        out.print(f"tokens to train on: {tokens.get('train', 0)}")


@grader.command("check")
def check_grader(
    file: Annotated[Path, typer.Argument(help="A grader in OpenAI's JSON.")],
    as_json: AsJson = False,
) -> None:
    """Compile a grader, and say what is wrong with it.

    Example: agentloop grader check grader.json
    """
    with speaking():
        spec = read_grader(file)
        with graders.compile(spec) as compiled:
            why = compiled.unready
    if as_json:
        document({"fit": True, "type": spec["type"], "unready": why})
    elif why:
        out.print(f"{file} is a {spec['type']} grader, but not here: {why}", markup=False)
    else:
        out.print(f"{file} is a {spec['type']} grader that can run here")


@grader.command()
def run(
    file: Annotated[Path, typer.Argument(help="A grader in OpenAI's JSON.")],
    sample: Annotated[str, typer.Option(help="What a model said: a text, or a message as JSON.")],
    item: Annotated[str, typer.Option(help="The row's own fields, as JSON.")] = "{}",
    as_json: AsJson = False,
) -> None:
    """Grade one answer.

    Example: agentloop grader run grader.json --sample "It shipped." --item '{"label": "shipped"}'
    """
    with speaking():
        spec = read_grader(file)
        try:
            fields = json.loads(item)
        except ValueError as error:
            raise RecordError(f"--item is no JSON: {error}") from error
        with graders.compile(spec) as compiled:
            grade = compiled.grade(_sample(sample), fields)
    if as_json:
        document(grade.to_response(name=spec.get("name", "grader"), type=spec["type"]))
        return
    out.print(f"reward {grade.reward:.4f}")
    for name, reward in grade.sub_rewards.items():
        out.print(f"  {name} {reward:.4f}")
    for name, value in grade.errors.items():
        if value:
            out.print(f"  {name}: {value}", markup=False)


def _sample(text: str) -> Any:
    try:
        body = json.loads(text)
    except ValueError:
        return text
    is_message = isinstance(body, dict) and body.get("role") == "assistant"
    return graders.sample_of(body) if is_message else text


def read_grader(file: Path) -> dict[str, Any]:
    """The grader in a file, or an error that says what the file is instead."""
    try:
        spec = json.loads(file.read_text())
    except OSError as error:
        raise RecordError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise GraderError(f"{file} is no JSON: {error}") from error
    if not isinstance(spec, dict) or "type" not in spec:
        raise GraderError(f"{file} is no grader: a JSON object with a 'type'")
    return spec


def _band(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise RecordError(f"--band is two numbers, as 0.2,0.8, not {text!r}") from None
    return low, high
