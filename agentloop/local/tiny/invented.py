"""Tools that nobody would offer together: random verbs, things and arguments, half of them made up.

They teach form rather than sense: to read a signature, to fill arguments of any type in its order,
and to prefer the tool whose name or description shares words with the request.
"""

import random
from collections.abc import Mapping

from agentloop.local.tiny.domains import Argument, DomainTool, Wish
from agentloop.local.tiny.values import word

VERBS: Mapping[str, tuple[str, ...]] = {
    "get": ("show me", "look up", "check", "pull up", "tell me about", "any news on"),
    "cancel": ("cancel", "call off", "stop", "i no longer want", "please abort"),
    "create": ("create", "make", "open", "add", "set up", "i need a new"),
    "update": ("update", "change", "edit", "modify", "correct"),
    "delete": ("delete", "remove", "erase", "get rid of", "throw away"),
    "send": ("send", "mail", "forward", "dispatch"),
    "book": ("book", "reserve", "arrange", "hold"),
    "return": ("return", "take back", "give back", "bring back"),
    "search": ("search for", "look for", "what do you know about", "a question about"),
    "pause": ("pause", "suspend", "freeze", "put on hold"),
    "resume": ("resume", "continue", "restart", "pick up again"),
    "approve": ("approve", "accept", "confirm", "say yes to"),
    "assign": ("assign", "hand over", "pass on"),
    "locate": ("locate", "where is", "find", "follow"),
    "pay": ("pay", "settle", "cover"),
    "list": ("list", "show all", "give me all", "what are the"),
    "rate": ("rate", "score", "grade", "review"),
    "escalate": ("escalate", "i want a person for", "complain about", "get a manager for"),
    "repair": ("repair", "fix", "mend", "make it work again,"),
    "measure": ("measure", "weigh", "how big is", "test"),
}
"""Verb in the name of a tool -> what people say for it."""

NOUNS: Mapping[str, tuple[str, ...]] = {
    "ticket": ("ticket", "support case"),
    "meeting": ("meeting", "call"),
    "flight": ("flight", "plane"),
    "room": ("room",),
    "device": ("device", "gadget"),
    "user": ("user", "customer"),
    "account": ("account", "profile"),
    "subscription": ("subscription", "plan"),
    "payment": ("payment", "charge"),
    "file": ("file", "document"),
    "report": ("report", "summary"),
    "task": ("task", "todo"),
    "car": ("car", "vehicle"),
    "article": ("article", "text"),
    "light": ("light", "lamp"),
    "note": ("note", "memo"),
    "message": ("message", "letter"),
    "contract": ("contract", "agreement"),
    "server": ("server", "machine"),
    "backup": ("backup", "copy"),
    "course": ("course", "class"),
    "loan": ("loan", "credit"),
    "issue": ("issue", "bug"),
    "voucher": ("voucher", "coupon"),
    "policy": ("policy",),
    "team": ("team", "group"),
    "photo": ("photo", "picture"),
    "song": ("song", "tune"),
    "animal": ("animal", "pet"),
    "bill": ("bill", "invoice"),
}
"""Thing in the name of a tool -> what people call it."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "priority": ("low", "medium", "high"),
    "size": ("small", "medium", "large"),
    "channel": ("email", "phone", "chat"),
    "mode": ("fast", "normal", "slow"),
    "colour": ("red", "green", "blue", "white"),
    "weekday": ("monday", "friday", "sunday"),
    "unit": ("metres", "miles", "feet"),
    "language": ("french", "german", "spanish"),
}
PHRASES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "city": ("city", ("to {}", "in {}", "for {}", "at {}")),
    "date": ("day", ("on {}", "for {}", "by {}")),
    "amount": ("money", ("for {}", "{} dollars", "amount {}", "of {} euros")),
    "quantity": ("count", ("{} of them", "{} pieces", "quantity {}", "{} units")),
    "email": ("email", ("to {}", "email {}", "my email is {}")),
    "name": ("person", ("for {}", "name {}", "my name is {}", "with {}")),
    "topic": ("topic", ("about {}", "on {}", "regarding {}")),
    "note": ("topic", ("with the note {}", "note: {}", "and write {}")),
    "time": ("time", ("at {}", "from {}", "not before {}")),
    "count": ("count", ("{} times", "up to {}", "{} in all")),
}
"""Argument -> kind of value, and the phrases that state it."""

RESULTS: Mapping[str, str] = {
    "status": "open|closed|waiting|active|paused|overdue|late|ready|lost|new|in work",
    "result": "ok|done|accepted|not found|saved|refused|confirmed|removed|sent",
    "owner": "person",
    "city": "city",
    "eta": "day",
    "date": "day",
    "total": "money",
    "balance": "money",
    "count": "count",
    "priority": "low|medium|high",
    "code": "id",
    "title": "topic",
    "company": "brand",
    "colour": "colour",
    "kind": "thing",
}
"""Key of a result -> kind of value."""


def invented(draw: random.Random, noun: str | None = None) -> DomainTool:
    """A tool made up on the spot, about `noun` when that is given."""
    verb = draw.choice(list(VERBS))
    noun = noun or (word(draw) if draw.random() < 0.35 else draw.choice(list(NOUNS)))
    identified = verb not in ("search", "list", "create", "book") or draw.random() < 0.1
    arguments = [Argument(f"{noun}_id", "id")] if identified else []
    more = draw.sample(list(PHRASES), draw.choice((0, 0, 1, 1, 2)) if identified else 1)
    arguments += [Argument(a, PHRASES[a][0], optional=draw.random() < 0.2) for a in more]
    if draw.random() < 0.2:
        named = draw.choice(list(CHOICES))
        arguments.append(Argument(named, choices=tuple((c,) for c in CHOICES[named])))
    keys = draw.sample(list(RESULTS), draw.choice((1, 1, 2, 2, 3)))
    tool = DomainTool(
        names=(_name(draw, verb, noun),),
        arguments=tuple(arguments),
        description=_description(draw, verb, noun),
        results=tuple((key, RESULTS[key]) for key in keys),
    )
    tool.wishes = [_wish(draw, tool, verb, noun) for _ in range(4)]
    return tool


def _name(draw: random.Random, verb: str, noun: str) -> str:
    forms = [f"{verb}_{noun}"] * 5 + [f"{noun}_{verb}", f"{verb}_{noun}_info", f"do_{verb}_{noun}"]
    return draw.choice(forms)


def _description(draw: random.Random, verb: str, noun: str) -> str:
    said = draw.choice(VERBS[verb]) if draw.random() < 0.3 else verb
    called = draw.choice(NOUNS.get(noun, (noun,)))
    forms = (f"{said.capitalize()} a {called}.", f"{verb.capitalize()} the {called}.")
    return draw.choice((*forms, f"Use to {verb} a {noun}.", f"{verb} {noun}"))


def _wish(draw: random.Random, tool: DomainTool, verb: str, noun: str) -> Wish:
    said = draw.choice(VERBS[verb]) if draw.random() < 0.75 else verb
    called = draw.choice(NOUNS.get(noun, (noun,)))
    choice = None
    parts = []
    for argument in tool.arguments:
        slot = "{" + argument.name + "}"
        if argument.kind == "id":
            continue
        if argument.choices:
            choice = draw.choice(argument.choices)[0]
            said_so = (f"{choice} {argument.name}", f"{argument.name} {choice}", choice)
            parts.append(draw.choice(said_so))
        elif not argument.optional or draw.random() < 0.6:
            parts.append(draw.choice(PHRASES[argument.name][1]).format(slot))
    draw.shuffle(parts)
    if tool.arguments and tool.arguments[0].kind == "id":
        slot = "{" + tool.arguments[0].name + "}"
        thing = draw.choice((f"{called} {slot}", f"the {called} {slot}", f"{called} number {slot}"))
        said = f"{said} {draw.choice((thing, f'my {called} {slot}', f'{called} with id {slot}'))}"
    else:
        said = f"{said} {draw.choice(('a', 'the', 'my', 'this'))} {called}"
    return Wish(" ".join([said, *parts]), choice)
