"""Other words for the same thing, so that a sentence of the corpus is not always the same words."""

import random
import re

SYNONYMS = """
want / would like / wish
need / require
broken / damaged / smashed / in pieces / cracked
broke / cracked / fell apart
stop / halt / end / abort
cancel / call off / drop / scrap
look up / check / see
show me / tell me / read me / let me know
tell me about / what about
when / at what time / which day
when do / how long until
come / arrive / get here
comes / arrives
wait / am waiting / still wait
we wait / we are waiting / we still wait
twice / two times / double
a second time / once more / again
too much / more than agreed / far too much
bill / invoice
receipt / slip / proof of payment
by mistake / by accident / in error
mistake / error
wrong / false / not right / incorrect
big / huge / large
small / tiny / little
late / overdue / behind time
town / city
lost / gone / missing
like / love
dislike / hate / do not like
colour / shade
money / cash
money back / a refund / the price back
pay me back / refund me / return my money
boss / company / chief
soon / quickly / fast
still / even now
nobody / no one
now / at the moment / right now
begin / start
done / finished / ready
fetch / pick up / collect
bring / carry / deliver / take
send / post
give / hand
buy / purchase
keep / hold
ill / sick / unwell
dirty / stained / filthy
was charged / was billed / was debited
you took / you charged / you debited
home / house / flat
change / switch / alter / modify
cannot / can not / can't
do not / don't
i am / i'm
it is / it's
why / how come
is not / isn't
did not / didn't
hole / tear
scratch / mark
dent / bump
not needed / not necessary / useless
any more / any longer
changed my mind / thought again
move / shift
put / set
somebody / someone
book / reserve
works / runs
please / kindly
instead / after all
forget / never mind
who / which person
yesterday / last night
last week / last month / days ago
sum / amount / total
price / cost
paper / document
friend / neighbour
return / give back / take back
the thing / it / this one
child / son / daughter
""".strip()
"""One group a line; members stand for each other well enough."""


def _groups() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in SYNONYMS.splitlines():
        members = line.split(" / ")
        for member in members:
            found.setdefault(member, []).extend(other for other in members if other != member)
    return found


OTHERS = _groups()
_PHRASES = "|".join(re.escape(phrase) for phrase in sorted(OTHERS, key=len, reverse=True))
_FOUND = re.compile(rf"(?P<slot>{{\w+}})|\b(?P<phrase>{_PHRASES})\b")


def reworded(draw: random.Random, sentence: str, *, odds: float = 0.35) -> str:
    """`sentence` with each known phrase replaced at `odds`; slots in braces stay as they are."""

    def other(match: re.Match[str]) -> str:
        phrase = match["phrase"]
        if phrase is None or draw.random() > odds:
            return match[0]
        return draw.choice(OTHERS[phrase])

    return _FOUND.sub(other, sentence)
