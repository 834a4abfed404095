"""`/v1/models`: the bases, and what was tuned from them."""

from collections.abc import Callable

from fastapi import APIRouter

from agentloop.base.records import Json
from agentloop.local.api.refusals import WireError, unknown_model
from agentloop.local.disk.models import Model, Models


def router(models: Models, forget: Callable[[str], None]) -> APIRouter:
    """The paths of `models`; `forget` is told the name of a model that was deleted."""
    paths = APIRouter(prefix="/v1/models")

    @paths.get("")
    def list_() -> Json:
        return {"object": "list", "data": [model.wire for model in models.all()]}

    @paths.get("/{id:path}")
    def retrieve(id: str) -> Json:
        return known(models, id).wire

    @paths.delete("/{id:path}")
    def delete(id: str) -> Json:
        model = known(models, id)
        if model.folder is None:
            raise WireError(
                f"The model '{id}' is a base model of this server and cannot be deleted here.",
                status=403,
                param="model",
            )
        if others := models.leaning_on(model):
            raise WireError(
                f"The model '{id}' cannot be deleted: {', '.join(others)} are adapters on it.",
                status=409,
                param="model",
            )
        models.delete(id)
        forget(id)
        return {"id": id, "object": "model", "deleted": True}

    return paths


def known(models: Models, id: str) -> Model:
    """The model, or OpenAI's 404."""
    if (model := models.get(id)) is None:
        raise unknown_model(id, [model.id for model in models.all()])
    return model
