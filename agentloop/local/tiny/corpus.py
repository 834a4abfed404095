"""Made-up conversations between people and agents with tools: what the tiny model learns from.

Every conversation is drawn anew from a seeded generator, so the corpus has no end and needs no
file. Nothing of the demo's trade (`agentloop.ui.demo`) is in it; a test holds that.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agentloop.local.tiny.domains import Desk, Domain, DomainTool, domains
from agentloop.local.tiny.invented import NOUNS, invented
from agentloop.local.tiny.offers import Asked, Json, Offer
from agentloop.local.tiny.speech import (
    REFUSALS,
    SMALL_TALK,
    answer,
    capitalised,
    sorry,
    spoken,
    which,
)
from agentloop.local.tiny.values import POOLS, word

HANDED_OVER = "Handoff to the {name} agent to handle the request. {purpose}"
"""How the Agents SDK describes a handoff to the model."""


@dataclass(slots=True)
class Conversation:
    """Chat messages, the tools on offer, and which assistant messages are not to be learned."""

    messages: list[Json]
    tools: list[Json]
    unlearned: set[int] = field(default_factory=set)


def corpus(seed: str | int, trades: Sequence[Domain] = ()) -> Iterator[Conversation]:
    """Conversations without end, the same for the same `seed`.

    Args:
        trades: what they are about; all of `domains()` and invented tools when empty.
    """
    draw = random.Random(f"corpus/{seed}")
    while True:
        chance = draw.random()
        domain = draw.choice(trades or domains())
        if chance < 0.28 and not trades:
            yield _single(draw, _invented_tools(draw), _system(draw, "assistant"))
        elif chance < 0.78:
            tools = _some_tools(draw, domain)
            yield _single(draw, tools, _system(draw, domain.desks[0].name))
        else:
            yield from _handed_over(draw, domain)


def drills(seed: str | int) -> Iterator[Conversation]:
    """The easy half of the lesson, without end: short, and each request in the tool's own words.

    A model that begins with them learns to find a name in the list and to copy it, before it
    learns to guess one from what was said.
    """
    draw = random.Random(f"drills/{seed}")
    while True:
        if draw.random() < 0.5:
            tools = _invented_tools(draw)
        else:
            tools = _some_tools(draw, draw.choice(domains()))
        if draw.random() < 0.25 and len(tools) > 1:
            yield from _handed_over(draw, _two_desks(draw, tools), literal=True)
            continue
        offers = _offered(draw, tools, literal=True)
        system = _system(draw, draw.choice(("assistant", "support", "help desk")))
        conversation = Conversation(system, [offer.schema for offer in offers])
        offer = draw.choice(offers)
        asked = offer.ask(draw)
        conversation.messages.append(_user(asked.text))
        _call_and_answer(draw, conversation.messages, offer, asked)
        yield conversation


def _two_desks(draw: random.Random, tools: list[DomainTool]) -> Domain:
    split = draw.randint(1, len(tools) - 1)
    behind = tools[split:][:3]
    purpose = " ".join(tool.description for tool in behind)
    name = draw.choice((behind[0].names[0].split("_")[-1], word(draw)))
    return Domain("drill", [Desk("help", "", tools[:split]), Desk(name, purpose, behind)])


def _single(draw: random.Random, tools: list[DomainTool], system: list[Json]) -> Conversation:
    """One agent, one to three requests."""
    offers = _offered(draw, tools)
    conversation = Conversation(system, [offer.schema for offer in offers])
    spoken_of: dict[str, str] = {}
    for _ in range(draw.choice((1, 1, 2, 2, 3, 3))):
        _turn(draw, conversation, offers, spoken_of)
    return conversation


def _turn(
    draw: random.Random, conversation: Conversation, offers: list[Offer], spoken_of: dict[str, str]
) -> None:
    """A request and all that follows it. `spoken_of`: noun -> the id that was spoken of last."""
    messages, chance = conversation.messages, draw.random()
    if chance < 0.03:
        said, reply = draw.choice(SMALL_TALK)
        messages += [_user(said), _assistant(reply)]
        return
    if chance < 0.055 and (foreign := _foreign(draw, offers)):
        messages += [_user(foreign), _assistant(draw.choice(REFUSALS))]
        return
    offer = draw.choice(offers)
    noun = _stem(offer)
    if chance < 0.10 and noun and noun in spoken_of:
        asked = offer.ask(draw, known=spoken_of[noun], vague=True)
        messages.append(_user(asked.text))
    elif chance < 0.13 and noun and noun not in spoken_of:
        asked = offer.ask(draw, vague=True)
        messages.append(_user(asked.text))
        if asked.missing:
            number = asked.arguments[asked.missing]
            form = draw.choice(("{}", "it is {}", "{} please", "it is " + noun + " {}"))
            messages += [_assistant(which(draw, noun)), _user(form.format(number))]
    elif chance < 0.17 and len(offers) > 1:
        _two_at_once(draw, conversation, draw.sample(offers, 2))
        return
    else:
        asked = offer.ask(draw)
        messages.append(_user(asked.text))
    if noun:
        spoken_of[noun] = str(next(iter(asked.arguments.values()), ""))
    _call_and_answer(draw, messages, offer, asked)


def _call_and_answer(draw: random.Random, messages: list[Json], offer: Offer, asked: Asked) -> None:
    messages.append(_calls((offer.name, asked.arguments)))
    if draw.random() < 0.06:
        error = _error(draw, offer, asked)
        messages += [_tool(f'{{"error": "{error}"}}'), _assistant(sorry(draw, error))]
        return
    result, told = offer.told(draw, asked.arguments)
    messages += [_tool(result), _assistant(answer(draw, told))]


def _two_at_once(draw: random.Random, conversation: Conversation, offers: list[Offer]) -> None:
    """Two requests in one sentence: two calls in one message, or one after the other."""
    messages = conversation.messages
    asked = [offer.ask(draw) for offer in offers]
    joint = draw.choice((" and ", ", and ", ". also, ", " and also "))
    messages.append(_user(joint.join(a.text.rstrip("?.!") for a in asked)))
    calls = [(offer.name, a.arguments) for offer, a in zip(offers, asked, strict=True)]
    results = [offer.told(draw, a.arguments) for offer, a in zip(offers, asked, strict=True)]
    if draw.random() < 0.5:
        messages.append(_calls(*calls))
        messages += [_tool(result) for result, _ in results]
    else:
        for call, (result, _) in zip(calls, results, strict=True):
            messages += [_calls(call), _tool(result)]
    messages.append(_assistant(" ".join(_sentence(answer(draw, told)) for _, told in results)))


def _handed_over(
    draw: random.Random, domain: Domain, *, literal: bool = False
) -> Iterator[Conversation]:
    """Two agents: what the first sees, and, when it hands over, what the second sees."""
    front, back = domain.desks if len(domain.desks) == 2 else _split(draw, domain)
    offers = _offered(draw, front.tools, literal=literal)
    others = _offered(draw, back.tools, literal=literal)
    name = back.name.replace(" ", "_") if draw.random() < 0.7 else word(draw)
    handoff = f"transfer_to_{name}"
    purpose = HANDED_OVER.format(name=name, purpose=back.purpose)
    transfer: Json = {
        "type": "function",
        "function": {
            "name": handoff,
            "description": purpose if draw.random() < 0.9 else back.purpose,
            "parameters": {"type": "object", "properties": {}, "required": []},
        },
    }
    first = Conversation(_system(draw, front.name), [o.schema for o in offers] + [transfer])
    stays = draw.random() < 0.6
    if stays or (not literal and draw.random() < 0.25):
        _turn(draw, first, offers, {})
    if stays:
        yield first
        return
    offer = draw.choice(others)
    asked = offer.ask(draw)
    addressed = f"{name.replace('_', ' ')}: " if draw.random() < 0.12 else ""
    passed = [_user(addressed + asked.text), _calls((handoff, {}))]
    second = Conversation(
        [*_system(draw, name), *first.messages[len(_systems(first)) :], *passed],
        [o.schema for o in others],
    )
    first.messages += passed
    yield first
    second.unlearned = {i for i, m in enumerate(second.messages) if m["role"] == "assistant"}
    second.messages.append(_tool(f'{{"assistant": "{name}"}}'))
    _call_and_answer(draw, second.messages, offer, asked)
    if draw.random() < 0.2:
        _turn(draw, second, others, {})
    yield second


def _split(draw: random.Random, domain: Domain) -> tuple[Desk, Desk]:
    """The desk of `domain` as two: some of its tools move to a second one."""
    tools = draw.sample(domain.tools, len(domain.tools))
    n = draw.choice((1, 1, 2)) if len(tools) > 2 else 1
    behind, before = tools[:n], tools[n:]
    about = " ".join(tool.description for tool in behind)
    name = behind[0].names[0].split("_")[-1]
    return Desk(domain.desks[0].name, "", before), Desk(name, about, behind)


def _some_tools(draw: random.Random, domain: Domain) -> list[DomainTool]:
    n = len(domain.tools)
    tools = draw.sample(domain.tools, draw.randint(min(2, n), n))
    for _ in range(draw.choice((0, 0, 1, 2))):
        other = draw.choice(domains())
        strange = [tool for tool in other.tools if tool not in tools]
        tools += draw.sample(strange, min(len(strange), draw.choice((1, 2))))
    return tools


def _invented_tools(draw: random.Random) -> list[DomainTool]:
    noun = draw.choice(list(NOUNS)) if draw.random() < 0.4 else None
    tools: dict[str, DomainTool] = {}
    for _ in range(draw.choice((1, 2, 3, 4, 5, 6, 7))):
        tool = invented(draw, noun if draw.random() < 0.6 else None)
        verb_and_noun = "/".join(sorted(tool.names[0].split("_")[:2]))
        tools.setdefault(verb_and_noun, tool)
    return list(tools.values())


def _offered(draw: random.Random, tools: list[DomainTool], *, literal: bool = False) -> list[Offer]:
    offers: list[Offer] = []
    for tool in draw.sample(tools, len(tools)):
        offers.append(Offer(draw, tool, [offer.name for offer in offers], literal=literal))
    return offers


def _foreign(draw: random.Random, offers: list[Offer]) -> str | None:
    """A request that none of `offers` is for; None when the drawn one might be."""
    tool = draw.choice(draw.choice(domains()).tools)
    words = {part for offer in offers for part in offer.name.split("_")}
    if words & set("_".join(tool.names).split("_")):
        return None
    return Offer(draw, tool).ask(draw).text


def _error(draw: random.Random, offer: Offer, asked: Asked) -> str:
    value = next(iter(asked.arguments.values()), "that")
    noun = offer.noun or "entry"
    form = draw.choice(("there is no {0} {1}", "{0} {1} is locked", "{1} is unknown", "timeout"))
    return form.format(noun, spoken(str(value)))


def _system(draw: random.Random, role: str) -> list[Json]:
    brand = POOLS["brand"](draw)
    if draw.random() < 0.06:
        return []
    role = role.replace("_", " ")
    forms = (
        f"You are the {role} of {brand}.",
        f"You are the {role} agent of {brand}.",
        f"You work as the {role} at {brand}. Use the tools.",
        f"You are a helpful assistant of {brand}.",
        "You are a helpful assistant.",
        f"{capitalised(role)} of {brand}.",
    )
    text = draw.choices(forms, weights=(4, 3, 1, 1, 1, 1))[0]
    return [{"role": "system", "content": text}]


def _systems(conversation: Conversation) -> list[Json]:
    return [m for m in conversation.messages[:1] if m["role"] == "system"]


def _stem(offer: Offer) -> str:
    argument = offer.id_argument
    return argument.name.removesuffix("_id").replace("_", " ") if argument else ""


def _sentence(text: str) -> str:
    return text if text[-1:] in ".!?" else text + "."


def _user(text: str) -> Json:
    return {"role": "user", "content": text}


def _assistant(text: str) -> Json:
    return {"role": "assistant", "content": text}


def _tool(result: str) -> Json:
    return {"role": "tool", "content": result}


def _calls(*calls: tuple[str, Json]) -> Json:
    made = [
        {
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
        }
        for name, arguments in calls
    ]
    return {"role": "assistant", "content": None, "tool_calls": made}
