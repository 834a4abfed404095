"""The demo's agents, as any user of the Agents SDK would write them. Nothing here knows of us."""

import json
from typing import Any, Literal

from agents import Agent, ModelSettings, RunContextWrapper, function_tool

from agentloop.ui.demo.shop import Shop

Context = RunContextWrapper[Shop]


@function_tool
def find_order(context: Context, order_id: str) -> str:
    """Look up what was ordered, and whether it is confirmed."""
    return _told(context.context.find_order(order_id))


@function_tool
def track_parcel(context: Context, order_id: str) -> str:
    """Find out who delivers an order, and when."""
    return _told(context.context.track_parcel(order_id))


@function_tool
def cancel_order(context: Context, order_id: str) -> str:
    """Stop an order before it is sent."""
    return _told(context.context.cancel_order(order_id))


@function_tool
def refund_order(
    context: Context,
    order_id: str,
    reason: Literal["damaged", "late", "wrong_item", "unwanted"],
) -> str:
    """Give the money for an order back."""
    return _told(context.context.refund_order(order_id, reason))


@function_tool
def change_address(context: Context, order_id: str, city: str) -> str:
    """Send an order to another city."""
    return _told(context.context.change_address(order_id, city))


@function_tool
def open_case(
    context: Context,
    order_id: str,
    problem: Literal["double_charge", "wrong_amount", "missing_invoice"],
) -> str:
    """Have somebody look at what was charged."""
    return _told(context.context.open_case(order_id, problem))


def support(model: str, *, temperature: float = 0.7) -> Agent[Shop]:
    """The support agent, which may hand over to the billing desk."""
    settings = ModelSettings(temperature=temperature, max_tokens=80)
    billing = Agent[Shop](
        name="billing",
        handoff_description="Charges, amounts and invoices.",
        instructions="You are the billing desk of Larch Goods.",
        tools=[open_case],
        model=model,
        model_settings=settings,
    )
    return Agent[Shop](
        name="support",
        instructions="You are the support agent of Larch Goods.",
        tools=[find_order, track_parcel, cancel_order, refund_order, change_address],
        handoffs=[billing],
        model=model,
        model_settings=settings,
    )


def _told(answer: dict[str, Any]) -> str:
    return json.dumps(answer)
