"""The same harvest over parts of a store, on Ray: beyond one machine.

    parts -> drafts        Ray Data, anywhere: reading, selecting, redaction, checks, split
          -> decisions     here, from 3 kB a row (a tenth of it without near duplicates):
                           duplicates, leaks, sides, balance, limit
          -> shards        Ray, anywhere: the lines, what is said beside them, refusals
          -> one manifest

Every stage is the local engine's own, so rows and refusals are the same, byte for byte and in the
same order. A part whose worker died is done again by another: reading changes nothing, and a shard
appears under its name when it is whole.
"""

import json
import os
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agentloop.base.errors import ConfigError
from agentloop.base.records import Json, Method, Recipe, Refusal, Refused
from agentloop.base.records.dataset import Noted
from agentloop.base.settings import Settings
from agentloop.base.store import Ledger, Point, RowLine
from agentloop.harvest import SIDES, Cleaning, Draft
from agentloop.harvest.files import meta_line, refused_line, replacing, shard, write_manifest
from agentloop.harvest.pipeline import Line, Tally, Whole
from agentloop.scale.drafts import Named, Source, cleaning
from agentloop.scale.parts import close

if TYPE_CHECKING:
    import ray.data


def run(
    folder: Path,
    recipe: Recipe,
    source: Source,
    *,
    workers: int | None = None,
    against: Path | str | None = None,
    tokenizer: Path | str | None = None,
) -> Json:
    """Harvest into a folder of shards, and what its manifest says.

    A cluster that `RAY_ADDRESS` names is used; otherwise one of `workers` processes is started
    here for as long as this takes. The folder must be one that all workers can write.

    Args:
        against, tokenizer: as in `harvest`, where the recipe has them: a file and a folder that
            all workers can read.

    Raises:
        ConfigError: Ray is not installed (extra `scale`), or the recipe has a part that no worker
            could make again (a redactor of your own).
        EmptyHarvest: there is no row.
    """
    ray = _ray()
    named = names(against, tokenizer)
    cleaning(recipe.to_line(), named)
    with cluster(workers):
        blocks = _in_order(source.drafts(recipe, named))
        whole, left_out = _decide(blocks, recipe)
        with replacing(folder) as new:
            write = ray.remote(max_retries=-1)(_write_shard)
            told = ray.put((whole, left_out))
            shards = ray.get(
                [write.remote(block, told, n, len(blocks), new) for n, block in enumerate(blocks)]
            )
            manifest = _manifest(recipe, whole, shards, new, source.count())
            write_manifest(manifest, new)
    close()
    return manifest


def recipe(method: Method | str, agents: Sequence[str], knobs: Mapping[str, Any]) -> Recipe:
    """The recipe of a harvest that no store is asked for: of the settings only `good` and `bad`."""
    settings = Settings.read()
    asked = {**knobs, **Cleaning.asked(knobs.get("redact", True), knobs).recipe}
    return Recipe.asked(method, agents, asked, good=settings.good, bad=settings.bad)


def names(against: Path | str | None, tokenizer: Path | str | None) -> Named:
    """Test set and tokenizer, as workers find them."""
    file = str(Path(against).resolve()) if against is not None else None
    if tokenizer is not None and Path(tokenizer).is_dir():
        tokenizer = Path(tokenizer).resolve()
    return Named(file, str(tokenizer) if tokenizer is not None else None)


def write_down(folder: Path, manifest: Json, ledger: Ledger, *, as_of: Point) -> None:
    """Write a sharded harvest down in a ledger, as if it had been made in one place.

    Args:
        as_of: what `ledger.point()` said before the harvest began.
    """
    whole = {name: said for name, said in manifest.items() if name != "shards"}
    rows = rows_of(folder, manifest)
    ledger.put_rows(whole, rows, refused_of(folder, manifest), as_of=as_of)


def rows_of(folder: Path, manifest: Json) -> Iterator[RowLine]:
    """The records of a sharded harvest and their traces, as the ledger takes them."""
    for side in SIDES:
        for one in manifest["shards"]:
            with (folder / one[side]["file"]).open() as lines, (folder / one["meta"]).open() as all:
                said = (meta for meta in map(json.loads, all) if meta["split"] == side)
                for text, meta in zip(lines, said, strict=True):
                    record = Line.of_meta(text.rstrip("\n"), meta).record
                    yield RowLine(record, meta["sha256"], meta["traces"])


def refused_of(folder: Path, manifest: Json) -> Iterator[Refused]:
    """The refusals of a sharded harvest."""
    for one in manifest["shards"]:
        with (folder / one["refused"]).open() as lines:
            for line in lines:
                fields = json.loads(line)
                fields.pop("sentence")
                yield Refused.of(fields)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of this harvest
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(
            "the engine ray needs Ray: pip install 'openagentloop[scale]', or --engine local"
        ) from error
    return ray


@contextmanager
def cluster(workers: int | None) -> Iterator[None]:
    """The cluster that is there, or one of this machine's own for as long as it is needed."""
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    quiet: Mapping[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, **quiet)
    else:
        ray.init(num_cpus=workers or os.cpu_count() or 2, include_dashboard=False, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


def _in_order(drafts: "ray.data.Dataset") -> list[Any]:
    """The blocks of rows, in the order of their first."""
    import ray

    first = ray.remote(max_retries=-1)(_first)
    blocks = drafts.materialize().to_arrow_refs()
    begins = ray.get([first.remote(block) for block in blocks])
    full = [(begin, block) for begin, block in zip(begins, blocks, strict=True) if begin]
    return [block for _, block in sorted(full, key=_begin)]


def _first(block: Any) -> tuple[str, int] | None:
    return (block["key"][0].as_py(), block["n"][0].as_py()) if len(block) else None


def _begin(one: tuple[tuple[str, int], Any]) -> tuple[str, int]:
    return one[0]


LeftOut = Mapping[tuple[str, int], tuple[Refusal, str | None]]
"""Why drafts are left out, by what their rows are found with."""


def _decide(blocks: Sequence[Any], recipe: Recipe) -> tuple[Whole, LeftOut]:
    """What the whole says, and which drafts it leaves out."""
    import ray

    light = ray.remote(max_retries=-1)(_lights)
    whole = Whole(recipe)
    left_out: dict[tuple[str, int], tuple[Refusal, str | None]] = {}
    kept_as: list[tuple[str, int]] = []
    for block in blocks:
        for key, n, pickled in ray.get(light.remote(block)):
            item = pickle.loads(pickled)  # noqa: S301 - what `_columns` has written
            kept = whole.take(item)
            if isinstance(kept, Draft):
                kept_as.append((key, n))
            elif kept is not item:
                left_out[key, n] = (kept.code, kept.detail)
    whole.settle()
    for number, at in enumerate(kept_as):
        if why := whole.late(number):
            left_out[at] = why
    return whole, left_out


def _lights(block: Any) -> list[tuple[str, int, bytes]]:
    columns = (block[name].to_pylist() for name in ("key", "n", "light"))
    return list(zip(*columns, strict=True))


class Shard(NamedTuple):
    """What was written of one block."""

    files: Json
    """What the manifest says of it."""
    noted: Noted


def _write_shard(
    block: Any,
    told: tuple[Whole, LeftOut],
    n: int,
    of: int,
    folder: Path,
) -> Shard:
    """Write the files of a block. Done twice, they are the same."""
    whole, left_out = told
    keys = whole.keys
    tally = Tally()
    lines: dict[str, list[bytes]] = {side: [] for side in SIDES}
    metas: dict[str, list[bytes]] = {side: [] for side in SIDES}
    refused: list[bytes] = []
    names = {name: shard(name, n, of) for name in (*SIDES, "rows.meta", "refused")}
    for key, number, pickled in zip(
        *(block[name].to_pylist() for name in ("key", "n", "draft")), strict=True
    ):
        item = pickle.loads(pickled)  # noqa: S301 - what `columns` has written
        if why := left_out.get((key, number)):
            item = item.refused(*why)
        if isinstance(item, Refused):
            refused.append(refused_line(item))
            continue
        side = whole.side(item)
        line = Line.of_draft(item, side, keys)
        lines[side].append(line.text.encode() + b"\n")
        metas[side].append(meta_line(line, file=names[side], n=len(lines[side])))
        tally.count(side, line.text.encode(), line.note)
    _put(folder / names["rows.meta"], [*metas["train"], *metas["valid"]])
    _put(folder / names["refused"], refused)
    files: Json = {"meta": names["rows.meta"], "refused": names["refused"]}
    for side in SIDES:
        _put(folder / names[side], lines[side])
        files[side] = {"file": names[side], "rows": tally.rows[side], "sha256": tally.sha(side)}
    return Shard(files, tally.noted)


def _put(file: Path, lines: Iterable[bytes]) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with draft.open("wb") as out:
        out.writelines(lines)
    draft.replace(file)


def _manifest(
    recipe: Recipe, whole: Whole, shards: Sequence[Shard], folder: Path, traces: int
) -> Json:
    """What the local engine's manifest says, and the shards."""
    tally = Tally()
    for one in shards:
        tally.noted.update(one.noted)
        for side in SIDES:
            tally.rows[side] += one.files[side]["rows"]
    for side in SIDES:
        tally.read(side, (folder / one.files[side]["file"] for one in shards))
    manifest = tally.manifest(recipe, whole, traces=traces, parent=None)
    return {**manifest, "shards": [one.files for one in shards]}
