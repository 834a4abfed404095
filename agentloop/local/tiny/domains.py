"""The made-up trades in `domains/*.txt`: their desks, tools, and what people say to them.

The format, line by line:

    # hotel | front desk                       a trade, and who answers there
    move_stay~shift(stay_id: id, day: day) …   a tool: names, arguments, description, -> results
      noise: we cannot sleep in {stay_id}      a sentence that wants it; the value of its choice
    ## complaints | Rooms that are not right.  tools from here on belong to a second desk

`a~b` are names for the same thing, `a|b` the values to choose from, `x?` may be absent, and
`key: =day` in the results repeats the argument `day`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from agentloop.local.tiny.values import POOLS

FOLDER = Path(__file__).with_name("domains")
HELD_OUT = Path(__file__).with_name("held_out")
"""Trades that nothing is learned from, in the same format: for measuring."""

Names = tuple[str, ...]
"""One thing under several names; the first is the one that sentences use."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a tool: a `kind` of value, or `choices` to pick from."""

    name: str
    kind: str = ""
    choices: tuple[Names, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """A sentence that wants a tool, with slots `{argument}`; `choice` is the value it means."""

    sentence: str
    choice: str | None = None


@dataclass(slots=True)
class DomainTool:
    """A tool of a desk, and sentences that want it."""

    names: Names
    arguments: tuple[Argument, ...]
    description: str
    results: tuple[tuple[str, str], ...]
    """Key -> kind, choices as `a|b`, or `=argument`."""
    wishes: list[Wish] = field(default_factory=list)


@dataclass(slots=True)
class Desk:
    """Who answers, what for (told when another desk hands over), and with which tools."""

    name: str
    purpose: str
    tools: list[DomainTool] = field(default_factory=list)


@dataclass(slots=True)
class Domain:
    """One trade: its first desk, and perhaps a second one behind it."""

    name: str
    desks: list[Desk]

    @property
    def tools(self) -> list[DomainTool]:
        return [tool for desk in self.desks for tool in desk.tools]


TOOL = re.compile(r"(?P<names>\S+?)\((?P<arguments>.*?)\) (?P<description>.*?) -> (?P<results>.*)")


@cache
def domains(folder: Path = FOLDER) -> tuple[Domain, ...]:
    """The trades in the files of `folder`, in the order of the files."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))]
    return tuple(domain for text in texts for domain in parsed(text))


def parsed(text: str) -> Iterator[Domain]:
    """The trades that `text` describes.

    Raises:
        ValueError: a line is not of the format above, or a slot names no argument.
    """
    domain: Domain | None = None
    for line in filter(None, text.splitlines()):
        head, _, rest = line.partition(" ")
        if head == "#":
            if domain:
                yield domain
            name, _, desk = rest.partition(" | ")
            domain = Domain(name, [Desk(desk, "")])
        elif domain is None:
            raise ValueError(f"before the first '# trade': {line!r}")
        elif head == "##":
            name, _, purpose = rest.partition(" | ")
            domain.desks.append(Desk(name, purpose))
        elif line.startswith("  "):
            tool = domain.desks[-1].tools[-1]
            tool.wishes.append(_wish(line.strip(), tool))
        else:
            domain.desks[-1].tools.append(_tool(line))
    if domain:
        yield domain


def _tool(line: str) -> DomainTool:
    match = TOOL.fullmatch(line)
    if match is None:
        raise ValueError(f"not a tool: {line!r}")
    written = filter(None, match["arguments"].split(", "))
    results = (entry.split(": ") for entry in match["results"].split(", "))
    return DomainTool(
        names=tuple(match["names"].split("~")),
        arguments=tuple(_argument(entry) for entry in written),
        description=match["description"],
        results=tuple((key, kind) for key, kind in results),
    )


def _argument(written: str) -> Argument:
    name, _, kind = written.partition(": ")
    optional, name = name.endswith("?"), name.removesuffix("?")
    if kind in POOLS:
        return Argument(name, kind, optional=optional)
    choices = tuple(tuple(choice.split("~")) for choice in kind.split("|"))
    return Argument(name, choices=choices, optional=optional)


def _wish(text: str, tool: DomainTool) -> Wish:
    choices = {choice[0] for argument in tool.arguments for choice in argument.choices}
    choice, colon, sentence = text.partition(": ")
    wish = Wish(sentence, choice) if colon and choice in choices else Wish(text)
    known = {argument.name for argument in tool.arguments if argument.kind}
    if unknown := set(re.findall(r"{(\w+)}", wish.sentence)) - known:
        raise ValueError(f"{text!r} has slots {unknown} that {tool.names[0]} has no argument for")
    if choices and wish.choice is None:
        raise ValueError(f"{text!r} does not say which of {sorted(choices)} it means")
    return wish
