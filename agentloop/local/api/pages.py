"""Lists in pages: `after` and `limit`, as OpenAI has them."""

from collections.abc import Sequence

from agentloop.base.records import Json
from agentloop.local.api.refusals import WireError


def page(items: Sequence[Json], *, after: str | None, limit: int) -> Json:
    """At most `limit` of `items`, those that follow the one of id `after`.

    Raises:
        WireError: there is none of that id.
    """
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise WireError(f"No such object: {after}", param="after")
        items = items[ids.index(after) + 1 :]
    shown = list(items[:limit])
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(items) > limit,
    }
