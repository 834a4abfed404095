"""A trained model becomes a folder that can be served, complete or not at all."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentloop.base.records import Json
from agentloop.local.disk.atomic import beside, commit, write_json
from agentloop.local.disk.ids import now

_NOT_COPIED = frozenset({"model.safetensors.index.json", "pytorch_model.bin.index.json"})


def save(
    model: Any,
    place: Path,
    *,
    name: str,
    job: str,
    base: str,
    weights: Path,
    adapters: Sequence[Path],
    on_base: bool,
) -> None:
    """Put the model, as it is now, into the folder `place`.

    Args:
        model: a transformers model, or one with a PEFT adapter in training.
        name: what it is called by.
        base: the name of the base it descends from.
        weights: the full weights that training started from.
        adapters: LoRA folders that were merged into them for training, in their order.
        on_base: whether `weights` are the base's own.
    """
    aside = beside(place)
    aside.mkdir()
    about: Json = {"id": name, "created": now(), "job": job, "base": base, "on_base": on_base}
    if hasattr(model, "peft_config"):
        chain = [f"adapter-{n}" for n in range(1, len(adapters) + 2)]
        for source, target in zip(adapters, chain, strict=False):
            shutil.copytree(source, aside / target)
        model.save_pretrained(aside / chain[-1])
        about |= {"weights": str(weights), "adapters": chain}
    else:
        for path in weights.iterdir():
            if path.is_file() and _tokenizer_or_config(path):
                shutil.copyfile(path, aside / path.name)
        model.save_pretrained(aside)
        about |= {"weights": None, "adapters": []}
    write_json(aside / "model.json", about)
    commit(aside, place)


def _tokenizer_or_config(path: Path) -> bool:
    return path.suffix in {".json", ".jinja", ".model", ".txt"} and path.name not in {
        "model.json",
        *_NOT_COPIED,
    }
