"""Models that can be called: the bases the server was given, and what its jobs made of them."""

import threading
from collections.abc import Collection, Mapping
from pathlib import Path

from agentloop.base.errors import ConfigError
from agentloop.base.records import Json, Record
from agentloop.local.disk.atomic import discard, read_json


class Model(Record):
    """A model and where its weights lie."""

    id: str
    created: int
    owned_by: str
    base: str
    """The name of the base it descends from; its own id for a base."""
    weights: Path
    """A Hugging Face folder with full weights and the tokenizer."""
    adapters: tuple[Path, ...] = ()
    """LoRA folders that are merged into the weights, in this order."""
    folder: Path | None = None
    """What is deleted with it; None for a base, which is not ours to delete."""

    @property
    def wire(self) -> Json:
        """OpenAI's model object."""
        return {
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": self.owned_by,
            "shutdown_date": None,
        }


class Models:
    """Every model of a server by name."""

    def __init__(self, folder: Path, bases: Mapping[str, Path]) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._bases = {name: _base(name, path) for name, path in bases.items()}
        self._tuned: dict[str, Model] = {}
        for path in folder.glob("*/model.json"):
            self.adopt(path.parent)

    def get(self, name: str) -> Model | None:
        """The model of that name, or None."""
        with self._lock:
            return self._bases.get(name) or self._tuned.get(name)

    def all(self) -> list[Model]:
        """Bases first, then what was tuned, oldest first."""
        with self._lock:
            tuned = sorted(self._tuned.values(), key=lambda model: (model.created, model.id))
            return [*self._bases.values(), *tuned]

    def adopt(self, folder: Path) -> Model:
        """The model that a worker has put into `folder`, from now on to be called by its name."""
        about = read_json(folder / "model.json")
        base = self._bases.get(about["base"])
        if about["weights"] is None:
            weights = folder
        elif about["on_base"] and base is not None:
            weights = base.weights  # which may have moved since
        else:
            weights = Path(about["weights"])
        model = Model(
            id=about["id"],
            created=about["created"],
            owned_by="local",
            base=about["base"],
            weights=weights,
            adapters=tuple(folder / name for name in about["adapters"]),
            folder=folder,
        )
        with self._lock:
            self._tuned[model.id] = model
        return model

    def leaning_on(self, model: Model) -> list[str]:
        """Other models whose adapters need the weights of this one."""
        with self._lock:
            return sorted(
                other.id
                for other in self._tuned.values()
                if other.weights == model.folder and other.id != model.id
            )

    def delete(self, name: str) -> bool:
        """Delete a tuned model; whether there was one."""
        with self._lock:
            model = self._tuned.pop(name, None)
        if model is None or model.folder is None:
            return False
        discard(model.folder)
        return True

    def forget(self, job: str, *, but: Collection[str] = ()) -> None:
        """Delete everything that an unfinished run of the job left, except the models `but`."""
        for folder in [self._folder / job, *self._folder.glob(f"{job}-step-*")]:
            with self._lock:
                names = [id for id, model in self._tuned.items() if model.folder == folder]
                if any(name in but for name in names):
                    continue
                for name in names:
                    del self._tuned[name]
            discard(folder)


def _base(name: str, path: Path) -> Model:
    if not name or ":" in name:
        raise ConfigError(f"{name!r} cannot name a base model: it is empty or contains ':'")
    folder = path.expanduser().absolute()
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"the base model {name!r} has no config.json in {str(folder)!r}; give a Hugging Face "
            "model folder"
        )
    created = int((folder / "config.json").stat().st_mtime)
    return Model(id=name, created=created, owned_by="local", base=name, weights=folder)
