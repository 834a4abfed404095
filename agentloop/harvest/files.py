"""The five files of a harvest, all at once or none."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import mkdtemp

from agentloop.base.errors import StoreError
from agentloop.base.records import Dataset, Json, Refused
from agentloop.base.records.message import verbatim
from agentloop.harvest.pipeline import Harvest, Line
from agentloop.harvest.splits import SIDES

FILES = ("train.jsonl", "valid.jsonl", "rows.meta.jsonl", "refused.jsonl", "manifest.json")


def write(made: Harvest | Dataset, folder: Path) -> None:
    """Write `train.jsonl`, `valid.jsonl`, `rows.meta.jsonl`, `refused.jsonl`, `manifest.json`.

    All five appear at once, in place of an earlier harvest; on an error none does.

    Raises:
        StoreError: the folder cannot be written; nothing is left behind.
    """
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error
    try:
        _write(made, draft)
        draft.chmod(0o755)
        if folder.exists():
            if strangers := {p.name for p in folder.iterdir()} - set(FILES):
                raise StoreError(
                    f"{folder} holds other files ({', '.join(sorted(strangers)[:3])}); "
                    "harvest into a folder of its own"
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


def _write(made: Harvest | Dataset, folder: Path) -> None:
    with (folder / "rows.meta.jsonl").open("wb") as beside:
        for side in SIDES:
            with (folder / f"{side}.jsonl").open("wb") as file:
                for n, line in enumerate(_lines(made, side), 1):
                    file.write(line.text.encode() + b"\n")
                    beside.write(_bytes(_meta(line, file=f"{side}.jsonl", n=n)))
    with (folder / "refused.jsonl").open("wb") as file:
        refused = made.refused() if isinstance(made, Harvest) else made.refused
        file.writelines(_bytes(_refusal(one)) for one in refused)
    manifest = json.dumps(made.manifest, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / "manifest.json").write_bytes(f"{manifest}\n".encode())


def _lines(made: Harvest | Dataset, side: str) -> Iterable[Line]:
    if isinstance(made, Harvest):
        return made.lines(side)
    return map(Line.of, made.rows if side == "train" else made.valid)


def _meta(line: Line, *, file: str, n: int) -> Json:
    return {
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


def _refusal(refused: Refused) -> Json:
    body = refused.model_dump(mode="json", exclude_none=True)
    return {**body, "sentence": refused.sentence}


def _bytes(body: Json) -> bytes:
    return verbatim(body) + b"\n"
