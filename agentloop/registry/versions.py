"""Versions: what a finished job becomes, or a model that was there already."""

from agentloop.base.errors import TransitionError
from agentloop.base.records import Api, Job, State, Version, new_id, now


def of_job(job: Job, *, base_url: str, api: Api, parent: str | None = None) -> Version:
    """The version that a finished job made.

    Args:
        base_url: where the provider's models answer, up to and including `/v1`.
        parent: the version that the job trained on, if it was one of ours.

    Raises:
        TransitionError: the job has not succeeded; the message says how it stands.
    """
    if job.state is not State.SUCCEEDED or job.tuned_model is None:
        why = f": {job.error}" if job.error else ""
        raise TransitionError(
            f"job {job.id!r} is {job.state.value!r}{why}; only a job that succeeded is a version"
        )
    return Version(
        # From the job's id: registering a job twice gives one version.
        id=f"v_{job.id.removeprefix('job_')}",
        provider=job.plan.provider,
        base_url=base_url,
        model=job.tuned_model,
        base_model=job.plan.base_model,
        api=api,
        created_at=now(),
        method=job.plan.method,
        job=job.id,
        dataset=job.plan.dataset,
        dataset_sha=job.plan.dataset_sha,
        parent=parent,
    )


def of_model(model: str, *, provider: str, base_url: str, api: Api) -> Version:
    """A version of a model that was not tuned here."""
    return Version(
        id=new_id("v"),
        provider=provider,
        base_url=base_url,
        model=model,
        base_model=model,
        api=api,
        created_at=now(),
    )
