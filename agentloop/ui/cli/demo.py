"""`agentloop demo`: the whole loop, offline, on the shipped tiny model."""

import asyncio
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agentloop.base.errors import ConfigError
from agentloop.base.records import Dataset, Tally
from agentloop.base.settings import Settings
from agentloop.harvest import Advice
from agentloop.jobs.handle import TuningJob
from agentloop.loop import AgentLoop
from agentloop.ui.cli import tuning
from agentloop.ui.cli.local import needs, tiny_base
from agentloop.ui.cli.output import AsJson, document, err, out, speaking, table
from agentloop.ui.cli.release import verdict_line

MARK = ".agentloop-demo"
"""A file in the demo's folder: what has it may be begun anew."""


def demo(
    fast: Annotated[
        bool, typer.Option("--fast", help="Less of everything; 2 to 4 minutes.")
    ] = False,
    folder: Annotated[
        Path, typer.Option("--out", help="Where store, rows and models go; begun anew.")
    ] = Path("traces/demo"),
    as_json: AsJson = False,
) -> None:
    """The whole loop, offline: an agent is run, rated, tuned three ways, gated, swapped, tried.

    Example: agentloop demo --fast
    """
    with speaking():
        needs()
        _begin_anew(folder)
        ending, url = _play(folder, fast, as_json)
    if as_json:
        document(_as_json(ending))
    else:
        _show(ending, folder, url)


def _play(folder: Path, fast: bool, as_json: bool) -> tuple[Any, str]:
    """How the story ended, and where the provider listened."""
    from agentloop.ui.demo.server import local_provider

    teller = Teller(err if as_json else out, folder)
    teller.chapter("Starting the local provider")
    with local_provider(folder / "local") as answering:
        import agents  # takes seconds, as the provider does

        from agentloop.ui.demo.story import FAST, FULL, Story

        # The SDK's own exporter would want a key and the network.
        agents.set_trace_processors([])
        url = answering()
        teller.say(f"{tiny_base()} answers at {url}")
        settings = Settings.read().model_copy(
            update={"local_url": url, "spill_dir": folder, "good": 0.8, "bad": 0.2}
        )
        with AgentLoop(f"sqlite:///{folder / 'loop.db'}", settings=settings) as loop:
            story = Story(loop, FAST if fast else FULL, teller, tiny_base())
            ending = asyncio.run(story.play())
    ending.peak_mb = _peak_mb()
    return ending, url


def _peak_mb() -> float:
    """Most memory that this process and its largest child took, once the provider has ended."""
    usage = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(who).ru_maxrss for who in usage) / 1024


class Teller:
    """Tells the demo's story on a console."""

    def __init__(self, console: Console, folder: Path) -> None:
        self._console = console
        self._folder = folder
        self._began = monotonic()
        columns = (
            TextColumn("      {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)

    def chapter(self, title: str) -> None:
        minutes, seconds = divmod(int(monotonic() - self._began), 60)
        self._console.print(f"\n[bold]{minutes}:{seconds:02d}  {title}[/bold]")

    def say(self, text: str) -> None:
        self._console.print(f"      {text}", markup=False)

    @contextmanager
    def counting(self, label: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar; several may be shown at once."""
        bar = self._bar
        task = bar.add_task(label, total=total)
        bar.start()
        try:
            yield lambda: bar.advance(task)
        finally:
            bar.remove_task(task)
            if not bar.tasks:
                bar.stop()

    def follow(self, job: TuningJob, label: str) -> None:
        tuning.follow(job, f"      {label}")
        record = job.record
        self.say(f"{label}: {record.state.value}, {record.trained_tokens or 0} tokens trained")

    def funnel(self, dataset: Dataset) -> None:
        from agentloop.harvest import write

        read, considered, kept = dataset.funnel
        self.say(f"{dataset.method.value}: {read} traces -> {considered} considered -> {kept} rows")
        for code, n in dataset.reasons().items():
            self.say(f"  {n:4} refused: {code.value}. {code.sentence}")
        write(dataset, self._folder / "rows" / dataset.method.value)

    def advice(self, advice: Advice) -> None:
        self.say(f"advice: {advice.says}")
        for suggestion in advice.suggestions:
            mark = "ready" if suggestion.ready else "not yet"
            self.say(f"  {suggestion.method:8} {mark:7} {suggestion.why}")


def _begin_anew(folder: Path) -> None:
    """An empty folder of the demo's own; a folder of somebody else's is left alone."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise ConfigError(f"{folder} is not empty and not the demo's; name another with --out")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def _show(ending: Any, folder: Path, provider_url: str) -> None:
    out.print()
    table(
        ("model", "task success", "taste", "season", "tokens", "s", "rows", "trained s", "gate"),
        [
            (
                line.name,
                _rate(line.success),
                _rate(line.taste),
                f"{line.season.rate:.2f}" if line.season else None,
                round(line.tokens),
                round(line.seconds, 2),
                line.rows or None,
                round(line.trained) or None,
                line.gate,
            )
            for line in ending.lines
        ],
    )
    out.print("rates with their 95 % intervals; tokens and seconds a conversation", markup=False)
    out.print("season: task success on new requests in the words that RFT was asked in")
    out.print()
    if ending.verdict is not None:
        out.print(f"trial against the base: {verdict_line(ending.verdict)}")
    out.print(f"live: {ending.winner or 'the base; no version passed its gate'}")
    out.print(f"took {ending.seconds:.0f} s, at most {ending.peak_mb:.0f} MB of memory")
    out.print(f"store {folder / 'loop.db'}, rows {folder / 'rows'}, models {folder / 'local'}")
    url = f"sqlite:///{folder / 'loop.db'}"
    out.print("\nnext:")
    out.print(f"  agentloop traces list --store {url}", markup=False)
    out.print(f"  agentloop models list --store {url}", markup=False)
    # On the port that it had: there the versions of this store answer.
    port = urlsplit(provider_url).port
    out.print(f"  agentloop local serve --root {folder / 'local'} --port {port}", markup=False)


def _rate(tally: Tally) -> str:
    low, high = tally.interval()
    return f"{tally.rate:.2f} ({low:.2f}-{high:.2f})"


def _as_json(ending: Any) -> dict[str, Any]:
    return {
        "models": [
            {
                "name": line.name,
                "model": line.model,
                "version": line.version,
                "task_success": _figure(line.success),
                "taste": _figure(line.taste),
                "season_success": _figure(line.season) if line.season else None,
                "tokens_per_conversation": round(line.tokens, 1),
                "seconds_per_conversation": round(line.seconds, 3),
                "rows": line.rows,
                "training_seconds": round(line.trained, 1),
                "gate": line.gate,
                "gained": {
                    metric: {"difference": difference, "interval": list(interval)}
                    for metric, (difference, interval) in line.gained.items()
                },
            }
            for line in ending.lines
        ],
        "trial": ending.verdict.model_dump(mode="json") if ending.verdict else None,
        "live": ending.winner,
        "seconds": round(ending.seconds, 1),
        "peak_mb": round(ending.peak_mb),
    }


def _figure(tally: Tally) -> dict[str, Any]:
    return {
        "rate": round(tally.rate, 4),
        "n": tally.n,
        "interval": [round(x, 4) for x in tally.interval()],
    }
