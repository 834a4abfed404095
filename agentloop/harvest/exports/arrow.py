"""JSON lines become Parquet, or a folder of Hugging Face `datasets`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentloop.base.errors import ConfigError
from agentloop.harvest.exports.card import SPLITS


def needed(format: str) -> None:
    """That what writes it is there.

    Raises:
        ConfigError: the extra `export` is not installed, or it is too old.
    """
    try:
        from datasets import Json  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"--format {format} wants the extra `export`: pip install 'openagentloop[export]' "
            f"({error})"
        ) from error


def convert(folder: Path, sides: Sequence[str], types: Mapping[str, str], *, parquet: bool) -> None:
    """Replace the JSON lines in a folder."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    features = _features(types)
    with _quiet():
        found = {}
        for side in sides:
            arrow = folder / f"{side}.arrow"
            with ArrowWriter(features=features, path=str(arrow)) as writer:
                for row in _rows(folder / f"{side}.jsonl", types):
                    writer.write(row)
                writer.finalize()
            found[side] = datasets.Dataset.from_file(str(arrow))
        if parquet:
            for side, rows in found.items():
                rows.to_parquet(folder / f"{side}.parquet")
        else:
            named = {SPLITS[side]: rows for side, rows in found.items()}
            datasets.DatasetDict(named).save_to_disk(folder)
    for side in sides:
        (folder / f"{side}.arrow").unlink()
        (folder / f"{side}.jsonl").unlink()


def _features(types: Mapping[str, str]) -> Any:
    from datasets import Features, Json, List, Value

    kinds = {
        "messages": List(Json()),
        "json": Json(),
        "json text": Value("string"),
        "text": Value("string"),
        "bool": Value("bool"),
    }
    return Features({name: kinds[type] for name, type in types.items()})


def _rows(file: Path, types: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """What is to be JSON is given as text: `datasets` takes it as it is, where of a value it would
    write numbers to 15 digits, and take a text that looks like JSON for what it looks like."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield {name: _value(row.get(name), type) for name, type in types.items()}


def _value(value: Any, type: str) -> Any:
    if value is None or type in ("bool", "text", "json text"):
        return value
    if type == "messages":
        return [json.dumps(message, ensure_ascii=False) for message in value]
    return json.dumps(value, ensure_ascii=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars meanwhile."""
    import datasets

    before = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            datasets.enable_progress_bars()
