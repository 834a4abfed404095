"""Rows of all methods, each like no other, and files of them."""

import copy
import json

from tests.makers import TOOL, asks, returns, says, system, user


def an_sft(n=0, **more):
    said = [system(), user(f"where is {n}?"), asks(), returns(f"shelf {n}"), says(f"On {n}.")]
    return {"messages": [m.to_dict() for m in said], "tools": [TOOL], **more}


def a_dpo(n=0, **more):
    return {
        "input": {"messages": [system().to_dict(), user(f"where is {n}?").to_dict()]},
        "preferred_output": [says(f"On shelf {n}.").to_dict()],
        "non_preferred_output": [says(f"No idea about {n}.").to_dict()],
        **more,
    }


def an_rft(n=0, **more):
    said = [{"role": "developer", "content": "Be brief."}, user(f"where is {n}?").to_dict()]
    return {"messages": said, "reference": f"shelf {n}", **more}


def a_kto(n=0, **more):
    said = [system().to_dict(), user(f"where is {n}?").to_dict()]
    return {"prompt": said, "completion": [says(f"On {n}.").to_dict()], "label": n % 2 == 0, **more}


MAKERS = {"sft": an_sft, "dpo": a_dpo, "rft": an_rft, "kto": a_kto}


def changed(row, *path, to):
    """A copy of the row in which something else stands at `path`; `to` may be a function."""
    row = copy.deepcopy(row)
    *way, last = path
    place = row
    for key in way:
        place = place[key]
    place[last] = (
        to(place.get(last) if isinstance(place, dict) else place[last]) if callable(to) else to
    )
    return row


def said(row, *messages):
    """The row with other messages."""
    bodies = [m if isinstance(m, dict) else m.to_dict() for m in messages]
    return changed(row, "messages", to=bodies)


def without(row, *path):
    """A copy of the row without what stands at `path`."""
    row = copy.deepcopy(row)
    *way, last = path
    place = row
    for key in way:
        place = place[key]
    del place[last]
    return row


def write(path, rows):
    """A file with a line for each row: JSON of what is no bytes."""
    with path.open("wb") as file:
        for row in rows:
            file.write(row if isinstance(row, bytes) else json.dumps(row).encode())
            file.write(b"\n")
    return path


def read(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]
