"""Where opinions differ: one score for a trace, and one for each call that was judged alone."""

from collections.abc import Iterable, Iterator

from agentloop.base.records import Judged, Opinion, Outcome, Settled, Source


def settle(judged: Iterable[Judged]) -> Iterator[Judged]:
    """The same traces with their scores, one at a time.

    A person outranks a judge model, a judge outranks a rule; among equals the mean counts. Of one
    author only the latest opinion counts. An outcome that is true, false or a number in [0, 1] is
    a rule's opinion on the whole trace; an unknown one is no opinion, never a 0.
    """
    for one in judged:
        about_trace = [o for o in one.opinions if o.call_id is None]
        about_calls: dict[str, list[Opinion]] = {}
        for opinion in one.opinions:
            if opinion.call_id is not None:
                about_calls.setdefault(opinion.call_id, []).append(opinion)
        calls = {id: _settled(opinions, ()) for id, opinions in about_calls.items()}
        yield one.but(
            settled=_settled(about_trace, one.outcomes),
            calls={id: settled for id, settled in calls.items() if settled is not None},
        )


def _settled(opinions: Iterable[Opinion], outcomes: Iterable[Outcome]) -> Settled | None:
    latest: dict[tuple[Source, str], float] = {}
    for outcome in outcomes:
        if outcome.score is not None:
            latest[Source.RULE, f"outcome.{outcome.name}"] = outcome.score
    for opinion in sorted(opinions, key=lambda o: o.given_at):
        if opinion.score is not None:
            latest[opinion.source, opinion.author] = opinion.score
    if not latest:
        return None
    highest = max((source for source, _ in latest), key=lambda source: source.rank)
    scores = [score for (source, _), score in latest.items() if source is highest]
    return Settled.trusted({"score": sum(scores) / len(scores), "source": highest})
