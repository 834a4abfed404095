"""What the demo's customers type, and what they want to have happened afterwards.

The wordings customers use while the agent learns (`LEARNING`) and those it is judged on
(`HELD_OUT`) share no sentence; order numbers, cities and goods are drawn anew for every request.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase, digits
from typing import Any

from agentloop.ui.demo.shop import Order, Shop

LEARNING: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "find_order": (
        (
            "find order {o}",
            "look up order {o}",
            "please find my order {o}",
            "what did i buy in {o}?",
            "is {o} confirmed?",
            "did {o} go through?",
            "can you read me {o}?",
        ),
        ("i forgot what {o} was",),
        (
            "remind me what {o} is",
            "what have i got in order {o}?",
            "show me order {o}",
            "read out order {o} to me",
        ),
    ),
    "track_parcel": (
        (
            "track parcel {o}",
            "track my parcel {o}",
            "who delivers {o}, and when?",
            "where is {o}?",
            "when does {o} arrive?",
            "i am waiting for {o}",
            "which day will {o} come?",
        ),
        ("{o} should be here by now",),
        (
            "how long until {o} is here?",
            "is the parcel {o} close?",
            "who brings {o}?",
            "i still have no {o}, when is it due?",
        ),
    ),
    "cancel_order": (
        (
            "cancel order {o}",
            "please cancel {o}",
            "stop order {o} before it is sent",
            "i do not need {o} any longer",
            "please do not send {o}",
            "i bought {o} by accident",
            "scrap {o}",
        ),
        ("forget about {o}",),
        (
            "{o} was a mistake, cancel it",
            "do not send {o}, i have no need of it",
            "i ordered {o} by mistake, stop it",
            "no need for {o} now, forget that order",
        ),
    ),
    "change_address": (
        (
            "change the address of {o} to {c}",
            "new address for order {o}: {c}",
            "send order {o} to {c}",
            "{o} must go to {c}",
            "i moved to {c}, what about {o}?",
            "my new home is in {c}, order {o}",
            "bring {o} to my office in {c}",
        ),
        ("please deliver {o} in {c}",),
        (
            "my address is now in {c}, {o} too",
            "i am in {c} from today, take {o} there",
            "{o} goes to {c} now, not to my old home",
            "we live in {c} now, send {o} to us",
        ),
    ),
    "refund_order damaged": (
        (
            "refund order {o}, it was damaged",
            "refund {o}, damaged",
            "{o} came in pieces",
            "{o} is broken",
            "there is a hole in {o}",
            "{o} fell apart when i opened it",
        ),
        ("the thing from {o} has a crack",),
        (
            "{o} has scratches all over",
            "what a mess, {o} is smashed",
            "{o} came with a broken leg",
            "{o} was in pieces when it arrived",
        ),
    ),
    "refund_order late": (
        (
            "refund order {o}, it came late",
            "refund {o}, late",
            "{o} never came, i want my money",
            "{o} is weeks overdue, pay me back",
            "i waited too long for {o}, money back",
            "{o} took a month, give me a refund",
        ),
        ("{o} missed the party, money back",),
        (
            "still no {o}, pay me back",
            "{o} did not come in time, i want a refund",
            "i want my money back, {o} is not here yet",
            "{o} came too late for me, refund it",
        ),
    ),
    "refund_order wrong_item": (
        (
            "refund order {o}, wrong item",
            "give me the money for {o} back, it is the wrong item",
            "{o} is not what i chose",
            "you packed something else in {o}",
            "i chose another thing, not {o}",
            "{o} came in another colour",
        ),
        ("i got another colour in {o}",),
        (
            "somebody else's thing was in {o}",
            "i opened {o} and it is something else",
            "{o} is something else than i asked for",
            "not the colour that i chose in {o}",
        ),
    ),
    "refund_order unwanted": (
        (
            "refund order {o}, it is unwanted",
            "refund {o}, unwanted",
            "i do not like {o}",
            "{o} is not for me, money back",
            "{o} is not as nice as i thought",
            "i changed my mind on {o}, it is here already",
        ),
        ("{o} does not suit me",),
        (
            "i have no joy in {o}, pay me back",
            "{o} is ugly, i want my money",
            "i do not want {o} any more, it came today",
            "i do not like the look of {o}, money back",
        ),
    ),
    "open_case double_charge": (
        (
            "double charge for {o}",
            "billing: there is a double charge on {o}",
            "you took the money for {o} twice",
            "i paid {o} two times",
            "{o} is on my card twice",
            "why did i pay for {o} again?",
        ),
        ("two payments for {o}, why?",),
        (
            "you charged me twice for {o}",
            "billing please, {o} was paid two times",
            "i see {o} two times on my card",
            "{o} was charged again",
        ),
    ),
    "open_case wrong_amount": (
        (
            "wrong amount for {o}",
            "billing: the amount of {o} is wrong",
            "you charged too much for {o}",
            "the price of {o} on my card is off",
            "{o} was cheaper when i bought it",
            "i paid more for {o} than i should",
        ),
        ("{o} cost me more than it said",),
        (
            "billing please, the price of {o} is not right",
            "you charged more than {o} costs",
            "the amount that i paid for {o} is too high",
            "{o} said less than you charged",
        ),
    ),
    "open_case missing_invoice": (
        (
            "missing invoice for {o}",
            "billing: the invoice of {o} is missing",
            "there was no bill with {o}",
            "my boss wants the receipt of {o}",
            "i need a bill for {o}",
            "can i have the invoice of {o}?",
        ),
        ("i never got a bill for {o}",),
        (
            "billing please, no receipt came with {o}",
            "send me the receipt of {o}",
            "i have no bill of {o}",
            "my boss asks for the invoice of {o}",
        ),
    ),
}
"""Wanted operation (and its reason or problem) -> sentences by season; `{o}` is the order, `{c}` a
city. Some say it in the words of the tools, so that a model that reads them well gets it right; the
others are what there is to learn. People's words change with the seasons."""

SEASONS = 3

HELD_OUT: Mapping[str, tuple[str, ...]] = {
    "find_order": (
        "could you find order {o}?",
        "look order {o} up please",
        "what was {o} again?",
        "tell me what is in {o}",
    ),
    "track_parcel": (
        "please track parcel {o}",
        "can you track parcel {o}?",
        "when will {o} arrive?",
        "i am still waiting for {o}, which day does it come?",
    ),
    "cancel_order": (
        "i want to cancel order {o}",
        "cancel {o} please",
        "i bought {o} by mistake, do not send it",
        "i do not need {o}, forget it",
    ),
    "change_address": (
        "please change the address of order {o} to {c}",
        "the address of {o} is {c} now, change it",
        "i live in {c} now, {o} must go there",
        "bring {o} to my new home in {c}",
    ),
    "refund_order damaged": (
        "please refund {o}, it is damaged",
        "i want a refund for order {o}, damaged",
        "{o} arrived broken",
        "the thing in {o} came with a crack",
    ),
    "refund_order late": (
        "please refund {o}, it was late",
        "i want a refund for order {o}, late",
        "{o} is overdue, i want my money back",
        "{o} never came, pay me back",
    ),
    "refund_order wrong_item": (
        "please refund {o}, it is the wrong item",
        "i want a refund for order {o}, wrong item",
        "i chose something else than {o}",
        "another colour came in {o}",
    ),
    "refund_order unwanted": (
        "please refund {o}, it is unwanted",
        "i want a refund for order {o}, unwanted",
        "i do not like {o}, money back",
        "{o} is not for me",
    ),
    "open_case double_charge": (
        "there is a double charge for {o}",
        "i see a double charge on {o}, billing please",
        "i paid two times for {o}",
        "you took two payments for {o}",
    ),
    "open_case wrong_amount": (
        "the amount for {o} is wrong",
        "i see the wrong amount on {o}, billing please",
        "the price of {o} is too much",
        "you charged more for {o} than it said",
    ),
    "open_case missing_invoice": (
        "the invoice for {o} is missing",
        "i have no invoice of {o}, billing please",
        "i got no receipt for {o}",
        "my boss needs the bill of {o}",
    ),
}
"""The same wishes in words that nobody learned from."""

CITIES = (
    "Bergen Porto Ghent Turin Leeds Malmo Graz Lyon Cork Basel Bilbao Aarhus Tartu Brno Split"
).split()
ITEMS = "kettle rug mirror lantern stool blanket teapot easel hammock globe vase radio".split()
CARRIERS = "Swift Polaris Heron Comet".split()
DAYS = "monday tuesday wednesday thursday friday tomorrow".split()

ARGUMENT = {"refund_order": "reason", "open_case": "problem"}
"""The argument that the second word of a wish fills."""


@dataclass(frozen=True, slots=True)
class Request:
    """One thing a customer wants: what they type, on which order, and the operation it takes."""

    id: str
    text: str
    order: Order
    operation: str
    arguments: Mapping[str, str]

    @property
    def billing(self) -> bool:
        """Whether the support agent should hand over to the billing desk."""
        return self.operation == "open_case"

    @property
    def right_calls(self) -> list[dict[str, Any]]:
        """The tool calls that bring about what is wanted, in their order."""
        call = {"name": self.operation, "arguments": dict(self.arguments)}
        return [{"name": "transfer_to_billing", "arguments": {}}, call] if self.billing else [call]

    @property
    def first_call(self) -> dict[str, Any]:
        """The one that the support agent should begin with: what a grader compares with."""
        return self.right_calls[0]

    def resolved(self, shop: Shop) -> bool:
        """Whether `shop` is in the state that this request wanted, and in no other.

        A request for information wants its lookup and nothing changed; looking something up on
        the way to a change is no fault.
        """
        with Shop([self.order]) as wanted:
            getattr(wanted, self.operation)(**self.arguments)
            return shop.state() == wanted.state() and wanted.lookups() <= shop.lookups()


def requests(n: int, *, seed: int, held_out: bool = False, season: int = 1) -> list[Request]:
    """`n` requests, the same for the same `seed`; every wish comes up equally often.

    Args:
        held_out: in words that nobody learns from.
        season: half of them in words that come up in this season (1 to `SEASONS`) first.
    """
    draw = random.Random(f"{seed}/{held_out}")
    wishes = [
        wish
        for k in range(-(-n // len(LEARNING)))
        for wish in draw.sample(sorted(LEARNING), len(LEARNING))
    ]
    return [
        _request(draw, wish, _wordings(wish, draw, held_out, season), f"{seed}-{i}")
        for i, wish in enumerate(wishes[:n])
    ]


def _wordings(wish: str, draw: random.Random, held_out: bool, season: int) -> tuple[str, ...]:
    if held_out:
        return HELD_OUT[wish]
    *known, new = LEARNING[wish][:season]
    if not known or draw.random() < 0.5:
        return new
    return tuple(said for earlier in known for said in earlier)


def _request(draw: random.Random, wish: str, wordings: tuple[str, ...], id: str) -> Request:
    operation, _, detail = wish.partition(" ")
    number = _order_number(draw)
    city = draw.choice(CITIES)
    order = Order(
        id=number,
        item=draw.choice(ITEMS),
        status="processing" if operation in ("cancel_order", "change_address") else "shipped",
        city="Riga",
        carrier=draw.choice(CARRIERS),
        eta=draw.choice(DAYS),
        total=draw.randint(5, 400),
    )
    text = draw.choice(wordings).replace("{o}", number).replace("{c}", city)
    if draw.random() < 0.4:
        text = text[0].upper() + text[1:]
    arguments = {"order_id": number}
    if operation in ARGUMENT:
        arguments[ARGUMENT[operation]] = detail
    if operation == "change_address":
        arguments["city"] = city
    return Request(id, text, order, operation, arguments)


def _order_number(draw: random.Random) -> str:
    number = "".join(draw.choice(digits) for _ in range(draw.choice((3, 4, 4, 5))))
    return number if draw.random() < 0.6 else f"{draw.choice(ascii_uppercase)}-{number}"
