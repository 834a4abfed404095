"""Assignment: which arm serves a unit, and so which version answers in a run."""

from collections.abc import Mapping
from hashlib import blake2b

from agentloop.base.errors import ConfigError
from agentloop.base.records import Trial, Version, new_id, now
from agentloop.base.store import Live, Serving

CONTROL, CANDIDATE = "control", "candidate"

Versions = Version | str | Mapping[str, Version | str | None] | None
"""Which version answers: one for all agents of a run, or one by agent (None: its own model)."""


def begin(
    agents: tuple[str, ...],
    *,
    candidate: str,
    control: str | None,
    share: float,
    metric: str,
    running: tuple[Trial, ...],
) -> Trial:
    """A trial that begins now.

    Raises:
        ConfigError: the share is none, both sides are one version, or another trial of one of the
            agents goes on.
    """
    if not 0.0 < share < 1.0:
        raise ConfigError(f"the share of a trial lies between 0 and 1, not at {share!r}")
    if candidate == control:
        raise ConfigError(
            f"version {candidate!r} would be compared with itself: it is live already; name "
            "another version as control, or 'own' for the agent's own model"
        )
    for other in running:
        if set(other.agents) & set(agents):
            raise ConfigError(f"trial {other.id!r} of {other.agents[0]!r} goes on; stop it first")
    return Trial(
        id=new_id("trial"),
        agents=agents,
        candidate=candidate,
        control=control,
        share=share,
        metric=metric,
        started_at=now(),
    )


def arm(trial: Trial, unit: str) -> str:
    """`candidate` for `trial.share` of all units, `control` for the others.

    Decided by a hash of trial and unit: sticky without a table, the same in every process, and
    independent between trials. When the share grows, units move from control to candidate and
    none moves back.

    Args:
        unit: the user, or the session, or the run: whatever should not see both.
    """
    place = blake2b(f"{trial.id}/{unit}".encode(), digest_size=8).digest()
    return CANDIDATE if int.from_bytes(place, "big") / 2**64 < trial.share else CONTROL


def serve(live: Live, agent: str, *, unit: str, versions: Versions, held_out: bool) -> Serving:
    """Who answers in a run: the version that was asked for, else the arm of a trial, else what is
    live.

    Args:
        agent: the agent that the run begins with.
        versions: what was asked for, if anything.
        held_out: whether the run is to measure with; such a run is in no trial.
    """
    asked = versions is not None or held_out
    trial = None if asked else next((t for t in live.trials if agent in t.agents), None)
    side = arm(trial, unit) if trial else None

    def resolve(name: str) -> Version | None:
        if versions is not None:
            chosen = versions.get(name) if isinstance(versions, Mapping) else versions
        elif trial is not None and name in trial.agents:
            chosen = trial.candidate if side == CANDIDATE else trial.control
        else:
            chosen = live.aliases.get(name)
        return live.version(chosen) if isinstance(chosen, str) else chosen

    return Serving(resolve, trial.id if trial else None, side)
