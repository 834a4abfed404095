"""Traffic with something of everything, for tests of engines, and recipes that refuse of it."""

from tests.makers import (
    a_correction,
    a_trace,
    an_opinion,
    an_outcome,
    asks,
    at,
    returns,
    says,
    system,
    user,
)


def fill(store):
    """Traffic with something of everything: regenerations, corrections, tasks, duplicates, mail
    addresses, runs that nobody judged, two agents."""
    for n in range(90):
        agent = "billing" if n % 7 == 3 else "support"
        asked = (system(agent), user(f"where is {n % 12}? I am u{n % 12}@work.org"))
        looked = () if n % 3 else (asks(arguments=f'{{"id": {n % 12}}}'), returns(f"found {n % 4}"))
        trace = a_trace(
            *asked,
            *looked,
            says(f"It is {n % 5}."),
            id=f"t{n:02}",
            agent=agent,
            user=f"u{n % 9}",
            task_id=f"task {n % 12}" if n % 2 else None,
            started_at=at(n // 2),
            held_out=n % 13 == 12,
        )
        store.put(trace)
        if n % 5 != 4:
            store.put(an_outcome(trace.id, "resolved", n % 5 < 2, reference=f"label {n % 12 % 3}"))
        if n % 6 == 1:
            store.put(an_opinion(trace.id, float(n % 4 < 2), id=f"o{n}"))
        if n % 10 == 5:
            store.put(a_correction(trace.calls[-1], f"Better {n}.", id=f"c{n}"))


RECIPES = {
    "sft": {"good": 0.5},
    "dpo": {"where": "user != 'u1'"},
    "rft": {"band": (0.3, 0.6)},
    "sft few": {"limit": 7},
    "sft cleaned": {"good": 0.0, "near": 0.3, "balance": 6, "limit": 11, "valid_share": 0.4},
    "sft last": {"turns": "last", "learner": "tiny"},
    "kto": {"where": "user != 'u1'", "bad": 0.4},
}
