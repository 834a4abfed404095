"""What lies between two datasets, told to people."""

import json
from collections.abc import Iterable

from agentloop.base.records import Difference
from agentloop.ui.cli.output import out, table


def tell(found: Difference) -> None:
    """A difference, for people."""
    out.print(
        f"{found.both} rows in both ({found.moved} of them moved), {found.changed} changed, "
        f"{found.only_a} only in {found.a}, {found.only_b} only in {found.b}",
        markup=False,
    )
    told = [
        *(("moved", f"{one.a.file}:{one.a.line}", str(one.b), "") for one in found.moved_rows),
        *(("changed", str(one.a), str(one.b), _what(one.what)) for one in found.changed_rows),
        *(("only in a", str(place), "", "") for place in found.only_a_rows),
        *(("only in b", "", str(place), "") for place in found.only_b_rows),
    ]
    if told:
        table(("row", "a", "b", "what"), told)
    more = found.moved + found.changed + found.only_a + found.only_b - len(told)
    if more:
        out.print(f"and {more} more rows")
    for name, pairs in (("recipe", found.recipe), ("refused", found.refused)):
        for key, (one, other) in pairs.items():
            out.print(f"{name} {key}: {json.dumps(one)} -> {json.dumps(other)}", markup=False)
    if found.funnel:
        parts = (f"{key} {one} -> {other}" for key, (one, other) in found.funnel.items())
        out.print(f"funnel: {', '.join(parts)}")


def _what(paths: Iterable[str]) -> str:
    some = [*paths]
    return ", ".join(some[:4]) + (f" and {len(some) - 4} more" if len(some) > 4 else "")
