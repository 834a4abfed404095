"""The demo's customer: a person with a taste, who presses thumbs and now and then corrects.

The taste: a good answer is short, names the order number, and says what happened.
"""

from agentloop.ui.demo.requests import Request

MOST_WORDS = 9
"""How long an answer may be before this customer finds it long-winded."""


def likes(answer: str, request: Request) -> bool:
    """Whether `answer` is to this customer's taste."""
    said = answer.lower()
    return (
        len(answer.split()) <= MOST_WORDS
        and request.order.id.lower() in said
        and news(request).lower() in said
    )


def better(request: Request) -> str:
    """What this customer would have liked to read instead."""
    return f"Order {request.order.id}: {news(request)}."


def news(request: Request) -> str:
    """The one word that answers `request`."""
    match request.operation:
        case "find_order":
            return request.order.status
        case "track_parcel":
            return request.order.eta
        case "cancel_order":
            return "cancelled"
        case "refund_order":
            return "refunded"
        case "change_address":
            return request.arguments["city"]
        case _:
            return "opened"
