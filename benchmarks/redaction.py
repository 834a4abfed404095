"""What redaction costs: rows a second on one core, against plain patterns over the rows' lines, and
Presidio where it is installed."""

import json
import random
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import cycle, islice
from time import process_time
from typing import Any

from agentloop.base.records import Json, Message, SFTExample
from agentloop.base.records.message import verbatim
from agentloop.harvest.redaction import Redactor

BAR_ROWS = 500
PLAIN = [
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), "<EMAIL>"),
    (re.compile(r"\b(?:\d[ -]?){13,16}\b"), "<CARD>"),
    (re.compile(r"\b[A-Z]{2}\d{2}[A-Z0-9]{11,30}\b"), "<IBAN>"),
    (re.compile(r"\b\d{3}-\d{2}-\d{4}\b"), "<SSN>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"), "<IP>"),
    (re.compile(r"\+?\(?\d{2,4}\)?[ .-]?\d{3,4}[ .-]?\d{3,4}"), "<PHONE>"),
    (re.compile(r"\b(?:sk-|ghp_|AKIA)[\w-]{16,}"), "<KEY>"),
]
"""What people write when they write it themselves: it breaks ids and numbers, and joins nothing."""
NAMES = "ann bo cy dee eva finn gus hana ivo jo kai lea max nia oz pia quin ria sam tea".split()
TALK = (
    "Thanks, that is clear. Could you also tell me what happens when the parcel does not arrive "
    "before the weekend? I will be away from Monday, and the neighbours cannot take it either. "
)
RULES = (
    "You are the support agent of Larch Goods. Look an order up before you speak about it, and "
    "never promise a date that the carrier did not give. Refunds over 200 go to billing. "
) * 12
TOOLS: tuple[Json, ...] = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{name.replace('_', ' ').capitalize()} of a customer's order. {TALK}",
            "parameters": {
                "type": "object",
                "properties": {
                    key: {"type": "string", "title": key.title(), "description": f"The {key}."}
                    for key in ("order_id", "email", "phone", "reason")
                },
                "required": ["order_id"],
            },
        },
    }
    for name in (
        *("find_order", "track_parcel", "cancel_order", "refund_order", "change_address"),
        *("transfer_to_billing", "update_contact", "send_invoice"),
    )
)


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Rows a second of conversations with four tool calls, half of them with personal data."""
    rows = examples(200 if quick else 500)
    rounds = 2 if quick else 5
    sizes = [len(line(row)) for row in rows]
    redactor = Redactor()
    redactor.all(rows[:20])  # what is loaded when the first number is checked
    ours = max(_rate(rows, redactor.redact) for _ in range(rounds))
    plain = max(_rate(rows, _plainly) for _ in range(rounds))
    peers: dict[str, float] = {"plain patterns": round(plain, 1)}
    absent = []
    if find_spec("presidio_analyzer"):
        from agentloop.harvest.redaction.presidio import Presidio

        names = Redactor((Presidio(),))
        peers["presidio"] = round(_rate(rows[: 10 if quick else 50], names.redact), 1)
    else:
        absent.append("presidio")
    return {
        "unit": "rows a second on one core",
        "ours": round(ours, 1),
        "peers": peers,
        "absent": absent,
        "baseline": round(plain, 1),
        "ratio": round(ours / plain, 3),
        "bar": BAR_ROWS,
        "holds": ours >= BAR_ROWS,
        "runs": rounds,
        "rows": len(rows),
        "kb_a_row": round(sum(sizes) / len(sizes) / 1000, 1),
        "with_findings": sum(bool(redactor.redact(row).kinds) for row in rows),
    }


def _rate(rows: Sequence[SFTExample], redact: Callable[[SFTExample], Any]) -> float:
    """By the time of the processor: what else the machine does is not counted."""
    began = process_time()
    for row in rows:
        redact(row)
    return len(rows) / (process_time() - began)


def line(row: SFTExample) -> str:
    """The row as a line of JSON."""
    messages = [message.to_dict() for message in (*row.context, row.output)]
    return verbatim({"messages": messages, "tools": row.tools}).decode()


def _plainly(row: SFTExample) -> Any:
    text = line(row)
    for pattern, name in PLAIN:
        text = pattern.sub(name, text)
    return json.loads(text)  # a row again, as a redacted example is


def examples(n: int) -> list[SFTExample]:
    """Conversations of a shop, the same for the same `n`: of every second one a customer leaves
    an address, a number and a card."""
    dice = random.Random(7)
    return [_example(k, dice) for k in range(n)]


def _example(k: int, dice: random.Random) -> SFTExample:
    personal = k % 2 == 0
    name = dice.choice(NAMES)
    order = f"L-{dice.randrange(1000, 9999)}"
    email, phone = f"{name}{k}@mail{k % 7}.net", f"({dice.randrange(201, 989)}) 555-{k % 10_000:04}"
    asks = f"Where is order {order}? It should have come on 2026-11-{k % 28 + 1:02}. {TALK}"
    if personal:
        asks += f"Write to {email} or call me at {phone}. My card is 4532 2766 4457 7020."
    said = [_message("system", RULES), _message("user", asks)]
    for turn, tool in enumerate(islice(cycle(TOOLS), 4)):
        arguments = {"order_id": order, **({"email": email} if personal and turn < 2 else {})}
        found = {
            "order_id": order,
            "trace_id": f"{dice.getrandbits(128):032x}",
            "created_at": "2026-11-20T08:14:33.120+00:00",
            "items": [
                {"sku": f"{dice.randrange(10**9, 10**10)}", "price": dice.randrange(100) / 4}
                for _ in range(4)
            ],
            "customer": {"id": k, "email": email if personal else None},
            "note": TALK,
        }
        call = {"name": tool["function"]["name"], "arguments": json.dumps(arguments)}
        asked = {"id": f"call_{turn}", "type": "function", "function": call}
        said.append(_message("assistant", None, tool_calls=[asked]))
        said.append(_message("tool", json.dumps(found), tool_call_id=f"call_{turn}"))
        said.append(_message("assistant", f"I found {order}. {TALK}"))
        said.append(_message("user", TALK))
    return SFTExample(
        context=tuple(said),
        output=_message("assistant", f"It is on its way, {name}."),
        tools=TOOLS,
        unit=str(k),
        traces=(str(k),),
        calls=(str(k),),
    )


def _message(role: str, content: str | None, **fields: Any) -> Message:
    return Message.model_validate({"role": role, "content": content, **fields})
