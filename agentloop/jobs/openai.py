"""Any service that speaks OpenAI's fine-tuning contract, told apart by its address."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import openai

from agentloop.base.errors import ProviderBusy, ProviderRefused
from agentloop.base.records import SERVICES, Api, Event, Job, Json, Method, State
from agentloop.base.records.version import key_variable
from agentloop.jobs.provider import Capability

STATES = {
    "validating_files": State.QUEUED,
    "queued": State.QUEUED,
    "running": State.RUNNING,
    "pausing": State.RUNNING,
    "paused": State.PAUSED,
    "succeeded": State.SUCCEEDED,
    "failed": State.FAILED,
    "cancelled": State.CANCELLED,
}
"""Their word for each state, and ours. A word that is new to us is a job that goes on."""

TAG = "agentloop_job"
"""The metadata key under which a service carries our id of a job."""


CLOSING = (
    "OpenAI closes fine-tuning to everybody on 2027-01-06, and is closed to new organizations; "
    "models tuned on gpt-4.1 and gpt-4o answer until 2027-01-14"
)


class OpenAI:
    """OpenAI's fine-tuning API at `base_url`.

    Args:
        client: used as it is; by default one is made, with the key of the environment.
    """

    name = "openai"
    api: Api = "responses"
    capability = Capability(
        **SERVICES["openai"].model_dump(),
        usd_per_million={"gpt-4.1-nano": 1.5, "gpt-4.1": 25.0, "gpt-4o-mini": 3.0, "gpt-4o": 25.0},
        notes=(CLOSING,),
    )

    def __init__(self, base_url: str | None = None, client: openai.OpenAI | None = None) -> None:
        self.base_url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        self._given = client
        self._made: openai.OpenAI | None = None

    @property
    def _client(self) -> openai.OpenAI:
        if self._given is not None:
            return self._given
        if self._made is None:
            variable = key_variable(self.name)
            key = os.environ.get(variable) or self._without_key()
            # Jobs are created once and never retried blindly: they cost money.
            self._made = openai.OpenAI(base_url=self.base_url, api_key=key, max_retries=0)
        return self._made

    def _without_key(self) -> str:
        variable = key_variable(self.name)
        raise ProviderRefused(f"{variable} is not set; export the key", provider=self.name)

    def start(self, job: Job, train: bytes, valid: bytes | None) -> Job:
        plan = job.plan
        with self._speaking_our_errors():
            training = self._upload(f"{plan.dataset}-train.jsonl", train)
            options: Json = {}
            if valid:
                options["validation_file"] = self._upload(f"{plan.dataset}-valid.jsonl", valid)
            if plan.suffix is not None:
                options["suffix"] = plan.suffix
            if plan.seed is not None:
                options["seed"] = plan.seed
            theirs = self._client.fine_tuning.jobs.create(
                model=plan.base_model,
                training_file=training,
                method=_method(job),
                metadata={TAG: job.id, "dataset": plan.dataset, "dataset_sha": plan.dataset_sha},
                **options,
            )
        return self._seen(job, theirs)

    def find(self, job: Job) -> Job | None:
        # Looked at here, too: some services list all jobs, whatever metadata they are asked for.
        with self._speaking_our_errors():
            for theirs in self._client.fine_tuning.jobs.list(metadata={TAG: job.id}, limit=100):
                if (theirs.metadata or {}).get(TAG) == job.id:
                    return self._seen(job, theirs)
        return None

    def refresh(self, job: Job) -> Job:
        if job.provider_job is None:
            return self.find(job) or job
        with self._speaking_our_errors():
            theirs = self._client.fine_tuning.jobs.retrieve(job.provider_job)
        return self._seen(job, theirs)

    def events(self, job: Job, *, after: int = 0) -> list[Event]:
        if job.provider_job is None:
            return []
        with self._speaking_our_errors():
            pages = self._client.fine_tuning.jobs.list_events(job.provider_job, limit=100)
            newest_first = list(pages)
        return [_event(theirs) for theirs in reversed(newest_first)][after:]

    def cancel(self, job: Job) -> Job:
        if job.provider_job is None:
            found = self.find(job)
            if found is None:
                return job.advance(State.CANCELLED)
            job = found
        with self._speaking_our_errors():
            theirs = self._client.fine_tuning.jobs.cancel(job.provider_job or "")
        return self._seen(job, theirs)

    def _upload(self, name: str, content: bytes) -> str:
        made = self._client.files.create(file=(name, content), purpose="fine-tune")
        return made.id

    def _seen(self, job: Job, theirs: Any) -> Job:
        """Our record of what the service says of a job."""
        state = STATES.get(theirs.status, State.RUNNING)
        error = theirs.error.message if theirs.error is not None else None
        tuned = theirs.fine_tuned_model if state is State.SUCCEEDED else None
        finished = theirs.finished_at
        return job.advance(state, tuned_model=tuned, error=error).model_copy(
            update={
                "provider_job": theirs.id,
                "base_url": self.base_url,
                "trained_tokens": theirs.trained_tokens,
                "finished_at": datetime.fromtimestamp(finished, UTC) if finished else None,
            }
        )

    @contextmanager
    def _speaking_our_errors(self) -> Generator[None]:
        """The one place where the client's errors become ours."""
        try:
            yield
        except openai.APIConnectionError as error:
            raise ProviderBusy(self._unreachable(), provider=self.name) from error
        except openai.RateLimitError as error:
            raise ProviderBusy(
                f"{self.name}: {_said(error)}",
                provider=self.name,
                retry_after=_seconds(error.response.headers.get("retry-after")),
            ) from error
        except openai.InternalServerError as error:
            raise ProviderBusy(f"{self.name}: {_said(error)}", provider=self.name) from error
        except openai.APIStatusError as error:
            raise ProviderRefused(
                f"{self.name}: {_said(error)}", provider=self.name, code=error.code or ""
            ) from error

    def _unreachable(self) -> str:
        return f"{self.name} does not answer at {self.base_url}; check the network and try again"


def _method(job: Job) -> Any:
    """The `method` of a job in OpenAI's JSON."""
    kind = job.plan.method.wire
    body: Json = {}
    if job.plan.hyperparameters:
        body["hyperparameters"] = dict(job.plan.hyperparameters)
    if job.plan.method is Method.RFT:
        body["grader"] = job.plan.grader
    return {"type": kind, kind: body}


def _event(theirs: Any) -> Event:
    return Event(
        id=theirs.id,
        at=datetime.fromtimestamp(theirs.created_at, UTC),
        level=theirs.level,
        message=theirs.message,
        data=theirs.data if isinstance(theirs.data, dict) else {},
    )


def _said(error: openai.APIStatusError) -> str:
    """What the service said, in one line, without the client's own words around it."""
    body = error.body
    said = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(said or error.message).split())


def _seconds(header: str | None) -> float:
    try:
        return float(header or 30.0)
    except ValueError:
        return 30.0
