"""`agentloop data`: what there is of datasets, and what is wrong with a training file."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from agentloop import jobs
from agentloop.base.errors import ConfigError
from agentloop.base.records import SERVICES, Json, Mark, Method, RowRules
from agentloop.harvest import (
    Exported,
    Finding,
    Format,
    Left,
    Mended,
    Redactor,
    Report,
    check,
    export,
    mend,
)
from agentloop.ui.cli.learning import funnel
from agentloop.ui.cli.output import AsJson, StoreUrl, document, opened, out, say, speaking, table

data = typer.Typer(no_args_is_help=True, help="Look at datasets, and check files.")


@data.command("check")
def check_(
    file: Annotated[Path, typer.Argument(help="A training file, JSON lines.")],
    method: Annotated[Method, typer.Option(help="What the rows are for.")],
    provider: Annotated[
        str | None,
        typer.Option(help=f"Whose rules: {', '.join(SERVICES)}, or a provider of a plug-in."),
    ] = None,
    valid: Annotated[
        Path | None, typer.Option(help="The validation file: checked too, and for leaks.")
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Write a corrected file, a log, and what is left apart.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option("--out", help="The corrected file.", show_default="FILE.fixed.jsonl"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="--out may be a file that is there, FILE included.")
    ] = False,
    personal: Annotated[
        bool, typer.Option(help="Look for personal data and secrets; takes most of the time.")
    ] = True,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="What is nobody's, e.g. your own help@shop.com, or all of @shop.com."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find what a provider would refuse, and what it would take and should not.

    --fix changes only what is safe to change, and never FILE without --overwrite: rows keep what
    they say, personal data included. Lines that it cannot mend are kept apart with the reasons;
    nothing is lost.

    Example: agentloop data check train.jsonl --method sft --provider openai --valid valid.jsonl

    Example: agentloop data check train.jsonl --method sft --fix --out fixed.jsonl
    """
    if (to is not None or overwrite) and not fix:
        raise typer.BadParameter("--out and --overwrite go with --fix")
    if keep and not personal:
        raise typer.BadParameter("--no-personal looks for nothing; drop it, or --keep")
    with speaking():
        rules = rules_of(provider) if provider is not None else None
        look = Redactor(keep=keep or ()).kinds if personal else None
        report = check(file, method, rules=rules, valid=valid, personal=look)
        mended = None
        if fix:
            place = to or file.with_name(f"{file.name.removesuffix('.jsonl')}.fixed.jsonl")
            mended = mend(
                file,
                method,
                to=place,
                overwrite=overwrite,
                rules=rules,
                valid=valid,
                personal=look,
            )
    if as_json:
        body = _found(report)
        document(body if mended is None else {**body, "fix": _did(mended)})
    else:
        _tell(file, method, provider, report)
        if mended is not None:
            _tell_fixed(method, provider, mended)
    name, left = (file, report) if mended is None else (mended.places.fixed, mended.report)
    wrong = left.errors or (sum(left.counts.values()) if strict else 0)
    if wrong:
        what = "faults that a provider would refuse" if left.errors else "warnings"
        say(f"error: {name} has {wrong} {what}")
        raise typer.Exit(1)


def rules_of(provider: str) -> RowRules:
    """What the provider of that name wants of rows.

    Raises:
        ConfigError: nobody of that name is known.
    """
    if (known := SERVICES.get(provider)) is not None:
        return known
    try:
        return jobs.provider(provider).capability
    except ConfigError:
        names = ", ".join(sorted({*SERVICES, *jobs.BUILT_IN}))
        raise ConfigError(f"no provider {provider!r}; known: {names}, and plug-ins") from None


def _found(report: Report) -> dict[str, object]:
    return {
        "rows": report.rows,
        "fit": report.fit,
        "errors": report.errors,
        "answers": report.answers,
        "declined": report.declined,
        "counts": dict(report.counts),
        "findings": [finding.wire for finding in report.findings],
    }


def _did(mended: Mended) -> dict[str, object]:
    places = {name: str(place) for name, place in mended.places._asdict().items()}
    told = {"kept": mended.kept, "changed": mended.changed, "lines_apart": mended.apart}
    return {"files": places, **told, "did": dict(mended.did), "report": _found(mended.report)}


def _tell(file: Path, method: Method, provider: str | None, report: Report) -> None:
    for finding in report.findings:
        _say(finding, provider)
    kept = dict.fromkeys(report.counts, 0)
    for finding in report.findings:
        kept[finding.code] += 1
    for code, n in report.counts.items():
        if n > kept[code]:
            out.print(f"{file}: {code}: {n - kept[code]} more like these", markup=False)
    for_whom = f"{method.value} at {provider}" if provider else method.value
    declined = f", {report.declined} of {report.answers} answers decline" * bool(report.declined)
    fit = "fit" if report.fit else "not fit"
    out.print(f"{report.rows} rows, {fit} for {for_whom}{declined}", markup=False)


def _say(finding: Finding, provider: str | None) -> None:
    where = f"{finding.file}:{finding.line}" if finding.line else str(finding.file)
    out.print(f"{where}: {finding.level}: {finding.code}: {finding.message}", markup=False)
    if provider and (theirs := finding.provider):
        out.print(f"    {provider}: {theirs.code}: {theirs.message}", markup=False)


def _tell_fixed(method: Method, provider: str | None, mended: Mended) -> None:
    places = mended.places
    out.print(
        f"\n{mended.kept} rows -> {places.fixed}, {mended.changed} of them changed "
        f"(-> {places.changes}); {mended.apart} lines apart -> {places.apart}",
        markup=False,
    )
    for code, n in mended.did.items():
        out.print(f"    {code}: {n}", markup=False)
    _tell(places.fixed, method, provider, mended.report)


@data.command("export")
def export_(
    dataset: Annotated[
        str, typer.Argument(help="Id of a dataset, or the folder of a harvest.", metavar="DATASET")
    ],
    to: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    format: Annotated[Format, typer.Option(help="Who is to read it.")] = Format.OPENAI,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="--out may be an earlier export.")
    ] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write the rows of a dataset for another library.

    openai: the rows as they are. trl: conversations as TRL's trainers take them, arguments of tool
    calls as objects. kto: good and bad answers of pairs, one by one. parquet and datasets: as trl,
    for those who read columns (extra `export`).

    Example: agentloop data export data/sft --format trl --out data/sft-trl
    """
    if (folder := Path(dataset)).is_dir():
        with speaking():
            done = export(folder, format, to, overwrite=overwrite)
    else:
        with opened(store) as loop:
            done = export(loop.ledger.dataset(dataset), format, to, overwrite=overwrite)
    if as_json:
        document({**done.wire, "out": str(done.to)})
    else:
        _tell_exported(done)


def _tell_exported(done: Exported) -> None:
    form = f" as {done.form.value}" if done.form else ""
    out.print(
        f"{done.dataset}{form}: {done.rows['train']} rows to train on, {done.rows['valid']} to "
        f"validate with -> {done.to}",
        markup=False,
    )
    if done.left:
        told = [(n, code, Left(code).sentence) for code, n in done.left.items()]
        table(("left out", "reason", "what to do"), told)


@data.command("list")
def list_(store: StoreUrl = None, as_json: AsJson = False) -> None:
    """The datasets that were harvested, and what has changed since.

    Example: agentloop data list
    """
    with opened(store) as loop:
        manifests, marks = list(loop.ledger.manifests()), loop.ledger.marks()
    if as_json:
        document([{**m, "marks": told(marks.get(m["dataset"], ()))} for m in manifests])
    else:
        table(
            ("dataset", "agents", "train", "valid", "refused", "harvested at", "since then"),
            [
                (
                    m["dataset"],
                    ",".join(m["agents"]),
                    m["rows"]["train"],
                    m["rows"]["valid"],
                    sum(m["refused"].values()),
                    m["created_at"][:19],
                    "; ".join(mark.sentence for mark in marks.get(m["dataset"], ())) or None,
                )
                for m in manifests
            ],
        )


@data.command()
def show(
    dataset: Annotated[str, typer.Argument(help="Id of a dataset.")],
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """One dataset: its funnel, the versions that learned from it, and what has changed since.

    Example: agentloop data show sft-3f09a1b2c4d5
    """
    with opened(store) as loop:
        manifest = loop.ledger.manifest(dataset)
        learned = loop.ledger.learners().get(dataset, ())
        marks = loop.ledger.marks().get(dataset, ())
    if as_json:
        document({**manifest, "versions": list(learned), "marks": told(marks)})
    else:
        funnel(manifest)
        out.print(f"recipe {json.dumps(manifest['recipe'])}", markup=False)
        if manifest["parent"]:
            out.print(f"parent {manifest['parent']}", markup=False)
        out.print(f"versions {', '.join(learned) or 'none'}")
        for mark in marks:
            out.print(mark.sentence)
        if marks:
            out.print(f"next: agentloop harvest --update {dataset} --out DIR", markup=False)


def told(marks: Iterable[Mark]) -> list[Json]:
    """Marks as JSON, each with its sentence."""
    return [{**mark.model_dump(mode="json"), "sentence": mark.sentence} for mark in marks]
