"""The five files of a harvest, all at once or none."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from agentloop.base.errors import StoreError
from agentloop.base.records import Dataset, Json, Refused
from agentloop.base.records.message import verbatim
from agentloop.harvest.pipeline import Harvest, Line
from agentloop.harvest.splits import SIDES

OURS = re.compile(r"(train|valid|rows\.meta|refused)(-\d{5}-of-\d{5})?\.jsonl|manifest\.json")
"""Names of the files that a harvest writes."""


def write(made: Harvest | Dataset, folder: Path) -> None:
    """Write `train.jsonl`, `valid.jsonl`, `rows.meta.jsonl`, `refused.jsonl`, `manifest.json`.

    All five appear at once, in place of an earlier harvest; on an error none does.

    Raises:
        StoreError: the folder cannot be written; nothing is left behind.
    """
    with replacing(folder) as new:
        with (new / "rows.meta.jsonl").open("wb") as beside:
            for side in SIDES:
                with (new / f"{side}.jsonl").open("wb") as file:
                    for n, line in enumerate(_lines(made, side), 1):
                        file.write(line.text.encode() + b"\n")
                        beside.write(meta_line(line, file=f"{side}.jsonl", n=n))
        with (new / "refused.jsonl").open("wb") as file:
            refused = made.refused() if isinstance(made, Harvest) else made.refused
            file.writelines(map(refused_line, refused))
        write_manifest(made.manifest, new)


@contextmanager
def replacing(folder: Path, ours: re.Pattern[str] = OURS) -> Iterator[Path]:
    """A new folder, which takes the place of an earlier one when all went well.

    Args:
        ours: names of the files that an earlier one may hold.

    Raises:
        StoreError: the folder cannot be written, or holds files of others; nothing is left behind.
    """
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error
    try:
        yield draft
        draft.chmod(0o755)
        if folder.exists():
            strangers = sorted(p.name for p in folder.iterdir() if not ours.fullmatch(p.name))
            if strangers:
                raise StoreError(
                    f"{folder} holds other files ({', '.join(strangers[:3])}); "
                    "name a folder of its own"
                )
            folder.rename(old := draft.with_name(f"{draft.name}.old"))
            draft.rename(folder)
            shutil.rmtree(old)
        else:
            draft.rename(folder)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}; nothing was left") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def shard(name: str, n: int, of: int) -> str:
    """The name of one of many files that together are `name`.jsonl.

    >>> shard("train", 0, 12)
    'train-00000-of-00012.jsonl'
    """
    return f"{name}-{n:05}-of-{of:05}.jsonl"


def files_of(folder: Path, manifest: Json, side: str) -> list[Path]:
    """The files that hold the rows of `train` or `valid`, in order: one, or as many as shards."""
    if shards := manifest.get("shards"):
        return [folder / str(one[side]["file"]) for one in shards]
    return [folder / f"{side}.jsonl"]


def write_manifest(manifest: Json, folder: Path) -> None:
    """Write `manifest.json`."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / "manifest.json").write_bytes(f"{text}\n".encode())


def _lines(made: Harvest | Dataset, side: str) -> Iterable[Line]:
    if isinstance(made, Harvest):
        return made.lines(side)
    return map(Line.of, made.rows if side == "train" else made.valid)


def meta_line(line: Line, *, file: str, n: int) -> bytes:
    """What `rows.meta.jsonl` says of the `n`th row of a file."""
    body = {
        "file": file,
        "line": n,
        "sha256": line.sha256,
        "traces": list(line.traces),
        "calls": list(line.calls),
        "opinions": list(line.opinions),
        "split": line.split,
        "producers": list(line.producers),
        **line.note,
    }
    return verbatim(body) + b"\n"


def refused_line(refused: Refused) -> bytes:
    """What `refused.jsonl` says of it."""
    body = refused.model_dump(mode="json", exclude_none=True)
    return verbatim({**body, "sentence": refused.sentence}) + b"\n"
