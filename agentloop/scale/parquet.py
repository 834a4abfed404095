"""Traces in Parquet files: written from a store, and read in parts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentloop import harvest
from agentloop.base.errors import NotFound, RecordError
from agentloop.base.records import Call, Json, Judged, Method, Recipe
from agentloop.base.store.tree import Path as Walk
from agentloop.scale.drafts import IN_A_PART, NOTHING, Batch, Named, columns, condition, together

if TYPE_CHECKING:
    import ray.data


PARTITIONS = 200
"""Heaps are brought together in so many tasks, at most; Ray's own number for any data."""


class ParquetParts:
    """Traces that `export` has written, read by whoever has time. All workers must reach them.

    What was answered to one context lies in many files; it is brought together by the beginning of
    the conversation, up to what the user said first, which all that share a context share.
    """

    def __init__(self, folder: Path, *, size: int = IN_A_PART) -> None:
        self._folder, self._size = folder.absolute(), size

    def count(self) -> int:
        from pyarrow import parquet

        return sum(parquet.read_metadata(file).num_rows for file in self._files())

    def drafts(self, recipe: Recipe, named: Named = NOTHING) -> "ray.data.Dataset":
        import ray

        condition(recipe)
        parts = list(self._groups())
        read = ray.data.from_items(parts, override_num_blocks=len(parts))
        if recipe.method is Method.SFT:
            made = read.map_batches(partial(_of_traces, recipe, named), batch_size=1)
        else:
            heaps = max(1, self.count() // self._size)
            together = read.map_batches(partial(_heaped, recipe, heaps), batch_size=1)
            of_heap = partial(_of_heap, recipe, named, heaps)
            heaped = together.groupby("heap", num_partitions=min(heaps, PARTITIONS))
            made = heaped.map_groups(of_heap, batch_format="numpy")
        return made.sort(["key", "n"])

    def _groups(self) -> Iterator[Json]:
        """The groups of rows of all files: what is read together."""
        from pyarrow import parquet

        for file in self._files():
            for group in range(parquet.read_metadata(file).num_row_groups):
                yield {"file": str(file), "group": group}

    def _files(self) -> list[Path]:
        if not (files := sorted(self._folder.glob("*.parquet"))):
            raise NotFound(
                f"no Parquet file in {self._folder}; `agentloop traces export` makes some"
            )
        return files


def export(judged: Iterable[Judged], folder: Path, *, in_a_file: int = 10_000) -> int:
    """Write settled traces as Parquet files into a new folder; how many they are.

    Columns: `id`, `started_at` (a moment), `agents` (texts), `judged` (the record as JSON, bytes).

    Raises:
        RecordError: the folder is there and not empty.
    """
    import pyarrow as pa
    from pyarrow import parquet

    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise RecordError(f"{folder} is not empty; export into a folder of its own")
    columns: dict[str, pa.DataType] = {
        "id": pa.binary(),
        "started_at": pa.timestamp("us", tz="UTC"),
        "agents": pa.list_(pa.binary()),
        "judged": pa.binary(),
    }
    total, rest = 0, iter(judged)
    for n in range(10**6):
        if not (some := [_exported(one) for one in islice(rest, in_a_file)]):
            break
        table = pa.Table.from_pylist(some, schema=pa.schema(list(columns.items())))
        file = folder / f"traces-{n:06}.parquet"
        parquet.write_table(table, file, compression="zstd", row_group_size=IN_A_PART)
        total += len(some)
    return total


def _exported(one: Judged) -> Json:
    return {
        "id": _utf8(one.trace.id),
        "started_at": one.trace.started_at,
        "agents": [_utf8(name) for name in sorted({call.agent for call in one.trace.calls})],
        "judged": _utf8(one.to_line()),
    }


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _of_traces(recipe: Recipe, named: Named, batch: Batch) -> dict[str, list[Any]]:
    where = condition(recipe)
    parts = [
        columns(harvest.found(recipe, judged=[one], where=where), recipe, named, _key(one))
        for one in _mine(_read(batch), recipe)
    ]
    return together(parts)


def _read(batch: Batch) -> list[bytes]:
    from pyarrow import parquet

    (file,), (group,) = batch["file"], batch["group"]
    table = parquet.ParquetFile(str(file)).read_row_group(int(group), columns=["judged"])
    lines: list[bytes] = table["judged"].to_pylist()
    return lines


def _mine(lines: Iterable[bytes], recipe: Recipe) -> Iterator[Judged]:
    """The traces that are asked for at all."""
    for line in lines:
        one = Judged.from_line(line)
        if not one.trace.held_out and any(c.agent in recipe.agents for c in one.trace.calls):
            yield one


def _key(one: Judged, of: str = "") -> str:
    began = one.trace.started_at.strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{began} {of or one.trace.id}".encode("utf-8", "backslashreplace").decode()


def _heaped(recipe: Recipe, heaps: int, batch: Batch) -> dict[str, list[Any]]:
    """Each trace in the heaps of the contexts that it answers, and in that of its task."""
    heap: list[str] = []
    judged: list[bytes] = []
    for line in _read(batch):
        for one in _mine([line], recipe):
            calls = (c for c in one.trace.calls if c.agent in recipe.agents and c.context)
            names = {f"contexts {_heap(_root(call), heaps)}" for call in calls}
            if recipe.method is Method.DPO and one.trace.task_id is not None:
                names.add(f"tasks {_heap(one.trace.task_id, heaps)}")
            heap += sorted(names)
            judged += [line] * len(names)
    return {"heap": heap, "judged": judged}


def _heap(name: str, heaps: int) -> int:
    return int.from_bytes(sha256(_utf8(name)).digest()[:8], "big") % heaps


def _root(call: Call) -> str:
    """The node of what the user said first; of the whole context, where that was nothing."""
    roles = [message.role for message in call.context]
    end = roles.index("user") + 1 if "user" in roles else len(roles)
    return Walk(call.context[:end]).leaf


def _of_heap(recipe: Recipe, named: Named, heaps: int, batch: Batch) -> dict[str, list[Any]]:
    kind, number = str(batch["heap"][0]).split()
    read = _mine(map(bytes, batch["judged"]), recipe)
    judged = sorted(read, key=lambda one: (one.trace.started_at, one.trace.id))
    where = condition(recipe)
    if kind == "tasks":
        tasks: dict[str, list[Judged]] = {}
        for one in judged:
            if one.trace.task_id is not None and _heap(one.trace.task_id, heaps) == int(number):
                tasks.setdefault(one.trace.task_id, []).append(one)
        # After all contexts, as the local engine has it: "~" is after every year.
        return together(
            [
                columns(harvest.found(recipe, judged=runs), recipe, named, f"~{task}")
                for task, runs in tasks.items()
            ]
        )
    chosen = None if recipe.method is Method.RFT else where
    parts = []
    for node, made in _answered(judged, recipe, lambda name: _heap(name, heaps) == int(number)):
        if branches := harvest.branches(((call.id, one) for call, one in made), chosen):
            found = harvest.found(recipe, contexts=[branches], where=where)
            parts.append(columns(found, recipe, named, _key(made[0][1], node)))
    return together(parts)


def _answered(
    judged: Sequence[Judged], recipe: Recipe, here: Callable[[str], bool]
) -> Iterator[tuple[str, list[tuple[Call, Judged]]]]:
    """What `Store.forks` (DPO), `contexts` (RFT) or `answered` (KTO) finds among these traces."""
    contexts: dict[str, list[tuple[Call, Judged]]] = {}
    for one in judged:
        for call in one.trace.calls:
            if call.agent in recipe.agents and call.context and here(_root(call)):
                contexts.setdefault(Walk(call.context).leaf, []).append((call, one))
    for node, made in contexts.items():
        if recipe.method is Method.RFT:
            if made[0][0].context[-1].role == "user":
                yield node, made
            continue
        if recipe.method is Method.KTO:
            yield node, made
            continue
        said = {Walk(call.path).leaf for call, _ in made if call.output is not None}
        corrected = any(one.correction(call.id) for call, one in made)
        if len(said) > 1 or corrected:
            yield node, made
