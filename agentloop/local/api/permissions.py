"""`/v1/fine_tuning/checkpoints/{name}/permissions`: there are none, and none are needed.

At OpenAI a permission lets another project call a checkpoint. A server of ours has no projects:
whoever may ask it anything may call every checkpoint.
"""

from fastapi import APIRouter

from agentloop.base.records import Json
from agentloop.local.api.pages import page
from agentloop.local.api.refusals import WireError


def router() -> APIRouter:
    """The paths of permissions."""
    paths = APIRouter(prefix="/v1/fine_tuning/checkpoints/{name:path}/permissions")

    @paths.get("")
    def list_(name: str) -> Json:  # noqa: ARG001
        return page([], after=None, limit=1)

    @paths.post("")
    def create(name: str) -> Json:
        raise WireError(
            f"This server has no projects that could be permitted to use {name}: whoever may call "
            "the server may call its checkpoints.",
            param="project_ids",
            code="unsupported_value",
        )

    @paths.delete("/{id}")
    def delete(name: str, id: str) -> Json:
        raise WireError(f"No such permission of {name}: {id}", status=404, param="permission_id")

    return paths
