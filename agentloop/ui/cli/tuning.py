"""`agentloop tune` and `jobs`: rows become a job, watched to its end."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from agentloop.base.errors import NotFound, ProviderBusy, RecordError
from agentloop.base.records import Event, Job, Plan, State
from agentloop.harvest import files_of
from agentloop.jobs.handle import TuningJob
from agentloop.loop import AgentLoop
from agentloop.ui.cli.learning import read_grader
from agentloop.ui.cli.output import AsJson, StoreUrl, document, err, opened, out, say, table

jobs = typer.Typer(no_args_is_help=True, help="Look at fine-tuning jobs, and follow them.")

JobId = Annotated[str, typer.Argument(help="Id of a job, ours or the provider's.")]


def tune(
    dataset: Annotated[str, typer.Argument(help="Id of a dataset, or the folder of a harvest.")],
    base: Annotated[str, typer.Option(help="Model to train, or a version of ours.")],
    provider: Annotated[str, typer.Option(help="Where.")] = "local",
    hyperparameter: Annotated[
        list[str] | None,
        typer.Option("--set", help="A hyperparameter, as n_epochs=3. Repeatable."),
    ] = None,
    grader: Annotated[Path | None, typer.Option(help="For rft: a grader, as JSON.")] = None,
    suffix: Annotated[str | None, typer.Option(help="A word in the model's name.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="For the same run again.")] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Spend what the plan says.")] = False,
    watch: Annotated[bool, typer.Option(help="Follow the job to its end.")] = True,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Train a model on a dataset. Shows the plan first; what costs money wants --confirm.

    Example: agentloop tune data/sft --base agentloop-tiny
    """
    with opened(store) as loop:
        known = {version.id: version for version in loop.ledger.versions()}
        plan = loop.plan(
            _dataset(loop, dataset),
            provider=provider,
            base=known.get(base, base),
            hyperparameters=dict(_pair(text) for text in hyperparameter or ()),
            grader=read_grader(grader) if grader else None,
            suffix=suffix,
            seed=seed,
        )
        if not as_json:
            _show_plan(plan)
        job = loop.tune(plan, confirm=confirm)
        _follow(loop, job, watch, as_json)


@jobs.command("list")
def list_(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Every job.

    Example: agentloop jobs list
    """
    with opened(store) as loop:
        found = loop.ledger.jobs()
    if as_json:
        document([job.model_dump(mode="json") for job in found])
    else:
        table(
            ("job", "method", "dataset", "provider", "base", "state", "tuned model"),
            [
                (
                    job.id,
                    job.plan.method.value,
                    job.plan.dataset,
                    job.plan.provider,
                    job.plan.base_model,
                    job.state.value,
                    job.tuned_model,
                )
                for job in found
            ],
        )


@jobs.command()
def show(job: JobId, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """One job as its provider sees it now, and what happened to it; while the provider cannot be
    reached, as the ledger knows it.

    Example: agentloop jobs show job_1f…
    """
    with opened(store) as loop:
        handle = loop.job(job)
        try:
            events: list[Event] = handle.refresh().events()
        except ProviderBusy as error:
            say(f"note: {error}; this is what the ledger knows")
            events = []
    if as_json:
        body = handle.record.model_dump(mode="json")
        document({**body, "events": [event.model_dump(mode="json") for event in events]})
        return
    _show_job(handle.record)
    for event in events:
        out.print(f"  {event.at:%H:%M:%S} {event.level:5} {event.message}", markup=False)


@jobs.command()
def watch(job: JobId, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Follow a job to its end; it goes on when you stop following.

    Example: agentloop jobs watch job_1f…
    """
    with opened(store) as loop:
        _follow(loop, loop.job(job), True, as_json)


@jobs.command()
def cancel(job: JobId, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Stop a job.

    Example: agentloop jobs cancel job_1f…
    """
    with opened(store) as loop:
        record = loop.job(job).cancel().record
    if as_json:
        document(record.model_dump(mode="json"))
    else:
        _show_job(record)


@jobs.command()
def resume(job: JobId, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Hand a job to its provider that a crash kept from getting there, and follow it. A job that
    did get there is not started twice.

    Example: agentloop jobs resume job_1f…
    """
    with opened(store) as loop:
        handle = loop.job(job)
        handle.submit(loop.ledger.dataset(handle.record.plan.dataset))
        _follow(loop, handle, True, as_json)


def follow(handle: TuningJob, label: str) -> None:
    """A progress bar on stderr: step, loss or reward, and time left, until the job has ended."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=not err.is_terminal) as bar:
        task = bar.add_task(label, total=None, figures="waiting")
        for seen in handle.watch():
            for event in seen.events:
                if "step" in event.data:
                    bar.update(
                        task,
                        completed=event.data["step"],
                        total=event.data.get("total_steps"),
                        figures=figures(event),
                    )
                else:
                    bar.update(task, figures=event.message)


def figures(event: Event) -> str:
    """`step 12/60, loss 0.214` or `step 3/25, reward 0.61`."""
    data = event.data
    words = [f"step {data['step']}/{data.get('total_steps', '?')}"]
    for key, name in (("train_mean_reward", "reward"), ("train_loss", "loss")):
        if isinstance(data.get(key), int | float):
            words.append(f"{name} {data[key]:.3f}")
            break
    return ", ".join(words)


def _follow(loop: AgentLoop, handle: TuningJob, watch: bool, as_json: bool) -> None:
    if watch:
        follow(handle, f"{handle.record.plan.method.value} {handle.id}")
    version = loop.register(handle) if handle.state is State.SUCCEEDED else None
    if as_json:
        body = handle.record.model_dump(mode="json")
        document({**body, "version": version.id if version else None})
    else:
        _show_job(handle.record)
        if version:
            out.print(f"version {version.id}: gate it, then `agentloop swap AGENT {version.id}`")
    if handle.state in (State.FAILED, State.CANCELLED):
        say(f"error: job {handle.id} {handle.state.value}: {handle.record.error or 'no reason'}")
        raise typer.Exit(1)


def _show_plan(plan: Plan) -> None:
    cost = "nothing" if plan.usd == 0 else f"about ${plan.usd:.2f}" if plan.usd else "not known"
    out.print(
        f"{plan.method.value} of {plan.base_model} at {plan.provider}: {plan.rows} rows, about "
        f"{plan.tokens} tokens an epoch, {plan.epochs or 'auto'} epochs; costs {cost}"
    )
    for note in plan.notes:
        say(f"note: {note}")


def _show_job(job: Job) -> None:
    what = f" -> {job.tuned_model}" if job.tuned_model else f": {job.error}" if job.error else ""
    out.print(f"{job.id} ({job.provider_job or 'not submitted'}) {job.state.value}{what}")


def _dataset(loop: AgentLoop, text: str) -> str:
    """The id that was given, or that of the harvest in a folder; what was changed by hand since
    is an error, for the ledger would tell a wrong lineage."""
    folder = Path(text)
    if not folder.is_dir():
        return text
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if not isinstance(manifest, dict) or not isinstance(manifest.get("dataset"), str):
            raise RecordError(f"{folder} is no harvest: its manifest.json names no dataset")
        train = sha256()
        for file in files_of(folder, manifest, "train"):
            train.update(file.read_bytes())
    except (OSError, ValueError) as error:
        raise RecordError(f"{folder} is no harvest: {error}") from error
    known = loop.ledger.dataset(manifest["dataset"])
    if known.manifest["sha256"]["train"] != train.hexdigest():
        raise NotFound(
            f"the rows of {folder} were changed since the harvest {known.id}; harvest again, "
            "or correct the traces"
        )
    return known.id


def _pair(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not found:
        raise RecordError(f"--set wants NAME=VALUE, not {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
