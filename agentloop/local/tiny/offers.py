"""A tool as one agent offers it today: renamed, in OpenAI's schema, with requests and results.

Names are changed from conversation to conversation, so that a model has to read the list of tools
and cannot remember it.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentloop.local.tiny.domains import Argument, DomainTool, Wish
from agentloop.local.tiny.speech import Told
from agentloop.local.tiny.values import JSON_TYPES, POOLS, Value, word
from agentloop.local.tiny.wording import reworded

Json = dict[str, Any]

BEFORE = (
    "hi, ",
    "well, ",
    "actually ",
    "sorry, ",
    "hello, ",
    "please ",
    "hey ",
    "hi there! ",
    "good day, ",
    "one thing: ",
    "so, ",
)
AFTER = (" please", ", thanks", " now", ".", " thank you", "!", ", please help", " today")
JOINTS = {
    "city": ("to", "in", "at"),
    "city2": ("to", "and"),
    "day": ("on", "for"),
    "time": ("at", "for"),
    "person": ("to", "for", "by"),
    "topic": ("about", "on"),
    "email": ("to", "for"),
    "count": ("", "by", "number"),
}
"""Kind of value -> words that lead to it."""
FRAMES = ("{}", "{}", "{}", "please {}", "can you {}", "i want to {}", "could you {}")
REASONS = (", {}", ", it is {}", ", it was {}", " because of {}", ", reason: {}", ", {} please")
FAULTS = (
    "{} for {}",
    "there is a {} on {}",
    "i have a {} with {}",
    "{1}: {0}",
    "{1} is {0}",
    "the {} of {}",
    "{1} was {0}",
    "it says {0} for {1}",
)
"""What is wrong, and with what."""
SUFFIXES = "info data record tool item request now online v2 by_id".split()
PREFIXES = "do run api my start make fetch crm desk".split()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in words, and the arguments of the call that it wants."""

    text: str
    arguments: Json
    missing: str = ""
    """The argument that the words leave out, when they do."""


class Offer:
    """One tool under the names it has in one conversation."""

    def __init__(
        self,
        draw: random.Random,
        tool: DomainTool,
        taken: Sequence[str] = (),
        *,
        literal: bool = False,
    ) -> None:
        """`literal`: what people say of it is what it says of itself, word for word."""
        self.tool, self.literal = tool, literal
        self.description = tool.description if literal else reworded(draw, tool.description)
        if draw.random() < 0.08:
            self.description = ""
        self.name = _renamed(draw, tool, bool(self.description))
        while self.name in taken:
            self.name = f"{self.name}_{word(draw, 2)}"
        self.names: dict[str, str] = {}
        for argument in tool.arguments:
            self.names[argument.name] = _argument(draw, argument, self.names.values())
        self.choices = {a.name: _choices(draw, tool, a) for a in tool.arguments if a.choices}

    @property
    def schema(self) -> Json:
        """The tool as a Chat Completions request has it."""
        properties: Json = {}
        for argument in self.tool.arguments:
            schema: Json = {"type": JSON_TYPES.get(argument.kind, "string")}
            if argument.choices:
                schema["enum"] = list(self.choices[argument.name].values())
            properties[self.names[argument.name]] = schema
        required = [self.names[a.name] for a in self.tool.arguments if not a.optional]
        function: Json = {
            "name": self.name,
            "parameters": {"type": "object", "properties": properties, "required": required},
        }
        if self.description:
            function["description"] = self.description
        return {"type": "function", "function": function}

    @property
    def id_argument(self) -> Argument | None:
        return next((a for a in self.tool.arguments if a.kind == "id"), None)

    @property
    def noun(self) -> str:
        """What the id is the id of, as far as the offered name tells; else empty."""
        argument = self.id_argument
        if argument is None:
            return ""
        noun = argument.name.removesuffix("_id")
        return noun.replace("_", " ") if noun in self.names[argument.name] else ""

    def ask(self, draw: random.Random, *, known: str = "", vague: bool = False) -> Asked:
        """A request for this tool, in the words of one of its wishes.

        Args:
            known: an id that the request should be about.
            vague: leave the id out of the words.
        """
        wish = draw.choice([w for w in self.tool.wishes if self._possible(w)])
        text = wish.sentence
        if self.literal or draw.random() < 0.35:
            wish = self._plain(draw)
            text = wish.sentence
        elif draw.random() < 0.5:
            text = reworded(draw, text)
        missing = ""
        arguments: Json = {}
        for argument in self.tool.arguments:
            slot, name = "{" + argument.name + "}", self.names[argument.name]
            if argument.choices:
                arguments[name] = self.choices[argument.name][wish.choice or ""]
            elif slot in text:
                value = POOLS[argument.kind](draw)
                if argument is self.id_argument:
                    value = known or value
                    if vague:
                        text, missing = _without(text, slot), name
                    mark = "#" if draw.random() < 0.15 else ""
                    text = text.replace(slot, f"{mark}{value}")
                arguments[name] = value
                text = text.replace(slot, str(value))
        return Asked(_dressed(draw, text), arguments, missing)

    def result(self, draw: random.Random, arguments: Json) -> dict[str, Value]:
        """What the tool may return for `arguments`, without the id."""
        facts: dict[str, Value] = {}
        for key, kind in self.tool.results:
            if kind.startswith("="):
                if self.names[kind[1:]] in arguments:
                    facts[key] = arguments[self.names[kind[1:]]]
            else:
                facts[key] = POOLS[kind](draw) if kind in POOLS else draw.choice(kind.split("|"))
        for chosen in (self.names[argument] for argument in self.choices):
            if chosen in arguments and draw.random() < 0.3:
                facts[chosen] = arguments[chosen]
        if len(facts) > 1 and draw.random() < 0.2:
            facts.pop(draw.choice([key for key in facts if key != "result"]))
        return facts

    def told(self, draw: random.Random, arguments: Json) -> tuple[str, Told]:
        """A tool result as the model reads it, and what it tells."""
        facts = self.result(draw, arguments)
        argument = self.id_argument
        name = self.names[argument.name] if argument else ""
        about = str(arguments[name]) if name in arguments else ""
        if draw.random() < 0.06:
            (key, value), *_ = facts.items()
            return f"{key} {value}", Told(self.noun, about, {key: value})
        shown = {name: about} if about and draw.random() < 0.75 else {}
        return json.dumps({**shown, **facts}, ensure_ascii=False), Told(self.noun, about, facts)

    def _plain(self, draw: random.Random) -> Wish:
        """A wish in the words of the tool itself: its name or description, and its choices."""
        words = self._own_words(draw)
        said = draw.choice(FRAMES).format(words)
        reason, choice, rest = "", None, ""
        for argument in self.tool.arguments:
            slot = "{" + argument.name + "}"
            if argument.choices:
                choice, offered = draw.choice(list(self.choices[argument.name].items()))
                reason = offered.replace("_", " ")
            elif argument.kind == "id":
                noun = argument.name.removesuffix("_id").replace("_", " ")
                named = slot if words.endswith(noun) else f"{noun} {slot}"
                said += draw.choice((f" {named}", f" {named}", f" for {named}", f" of {slot}"))
            elif not argument.optional or draw.random() < 0.5:
                rest += f" {draw.choice(JOINTS.get(argument.kind, ('', 'with')))} {slot}"
        said += rest
        if reason:
            about = self.id_argument
            if about and not rest and draw.random() < 0.4:
                slot = "{" + about.name + "}"
                said = draw.choice(FAULTS).format(reason, slot)
            else:
                said += draw.choice(REASONS).format(reason)
        return Wish(re.sub(r"\s+", " ", said), choice)

    def _own_words(self, draw: random.Random) -> str:
        """The name as words where it can be read, or else what the description says."""
        own = re.sub(r"([A-Z])", r" \1", self.name).lower().replace("_", " ")
        told = self.description.rstrip(".").lower()
        if not told or (self.readable and draw.random() < 0.6):
            return own
        return told

    @property
    def readable(self) -> bool:
        """Whether the offered name says what the tool does."""
        return any(name.split("_")[0] in self.name.lower() for name in self.tool.names)

    def _possible(self, wish: Wish) -> bool:
        return all(wish.choice in choices for choices in self.choices.values())


def _renamed(draw: random.Random, tool: DomainTool, described: bool) -> str:
    name = draw.choice(tool.names)
    parts, chance = name.split("_"), draw.random()
    if chance < 0.5:
        return name
    if chance < 0.56:
        return f"{name}_{draw.choice(SUFFIXES)}"
    if chance < 0.62:
        return f"{draw.choice(PREFIXES)}_{name}"
    if chance < 0.68:
        return parts[0] + "".join(part.capitalize() for part in parts[1:])
    if not described:
        return f"{parts[0]}_{word(draw, 2)}"
    if chance < 0.76:
        return f"{parts[0]}_{word(draw, 2)}"
    if chance < 0.84:
        return f"{word(draw, 2)}_{parts[-1]}"
    return f"{word(draw, 2)}_{word(draw, 2)}"


def _argument(draw: random.Random, argument: Argument, taken: object) -> str:
    name = argument.name
    if draw.random() < 0.3:
        stem = name.removesuffix("_id")
        if argument.kind == "id":
            forms = [f"{stem}_number", f"{stem}_no", f"{stem}Id", stem, "id", "number", "ref"]
        else:
            forms = [f"the_{name}", f"{name}_value", f"new_{name}", name, word(draw, 2)]
        chosen = draw.choice(forms)
        name = chosen if chosen not in taken else name  # type: ignore[operator]
    return name


def _choices(draw: random.Random, tool: DomainTool, argument: Argument) -> dict[str, str]:
    """Choice as the wishes know it -> as it is offered; sometimes not all of them are."""
    wanted = [c for c in argument.choices if any(w.choice == c[0] for w in tool.wishes)]
    n = len(wanted)
    if n > 2 and draw.random() < 0.3:
        kept = draw.sample(range(n), draw.randint(2, n - 1))
        wanted = [choice for i, choice in enumerate(wanted) if i in kept]
    if draw.random() < 0.3:
        draw.shuffle(wanted)
    return {choice[0]: _choice(draw, draw.choice(choice)) for choice in wanted}


def _choice(draw: random.Random, name: str) -> str:
    """Now and then a name that cannot be known beforehand, only read."""
    chance = draw.random()
    if chance < 0.86:
        return name
    if chance < 0.93:
        return f"{name}_{draw.choice((word(draw, 2), 'case', 'reason', 'type'))}"
    return f"{word(draw, 2)}_{name}"


def _without(text: str, slot: str) -> str:
    bare = re.sub(rf"(, (it is )?|: )?{re.escape(slot)}(: )?", "", text)
    return re.sub(r"\s+", " ", bare).strip()


def _dressed(draw: random.Random, text: str) -> str:
    if draw.random() < 0.2:
        text = draw.choice(BEFORE) + text
    if draw.random() < 0.2:
        text = text.rstrip("?.!") + draw.choice(AFTER)
    elif draw.random() < 0.2:
        text = text.rstrip("?.!")
    return text[:1].upper() + text[1:] if draw.random() < 0.4 else text
