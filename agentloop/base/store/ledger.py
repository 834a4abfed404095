"""The ledger: datasets, jobs, versions, aliases and trials, and how one led to the other."""

from typing import NamedTuple

from sqlalchemy import select

from agentloop.base.errors import NotFound
from agentloop.base.records import AliasMove, Job, Json, Trial, Version
from agentloop.base.store import tables as t
from agentloop.base.store.datasets import Datasets


class Lineage(NamedTuple):
    """What led to a version, step by step; None where it was not made here."""

    version: Version
    job: Job | None
    dataset: Json | None
    """The manifest of the dataset; `rows` has what is in it."""
    traces: tuple[str, ...]


class Ledger(Datasets):
    """What was made from the traces. Nothing here is changed after the fact but jobs and trials,
    which go on; the history of aliases is only added to."""

    # ------------------------------------------------------------------ jobs

    def put_job(self, job: Job) -> None:
        """Write a job down, or what has become of it."""
        row = {
            "id": job.id,
            "dataset": job.plan.dataset,
            "provider": job.plan.provider,
            "state": job.state.value,
            "created_at": job.created_at,
            "body": job.to_line(),
        }
        with self._database.write() as connection:
            self._database.upsert(connection, t.job, [row])

    def job(self, id: str) -> Job:
        """The job of that id (ours or the provider's), or `NotFound`."""
        with self._database.read() as connection:
            body = connection.scalar(select(t.job.c.body).where(t.job.c.id == id))
        if body is not None:
            return Job.from_line(body)
        for job in self.jobs():
            if job.provider_job == id:
                return job
        raise NotFound(f"no job {id!r}; `agentloop jobs list` shows what there is")

    def jobs(self) -> tuple[Job, ...]:
        """Every job, oldest first."""
        with self._database.read() as connection:
            query = select(t.job.c.body).order_by(t.job.c.created_at, t.job.c.id)
            return tuple(Job.from_line(body) for body in connection.scalars(query))

    # ------------------------------------------------------------------ versions and aliases

    def put_version(self, version: Version) -> None:
        """Write a version down; one that is there already stays as it is."""
        row = {
            "id": version.id,
            "job": version.job,
            "created_at": version.created_at,
            "body": version.to_line(),
        }
        with self._database.write() as connection:
            self._database.add(connection, t.version, [row])

    def version(self, id: str) -> Version:
        """The version of that id, or `NotFound`."""
        with self._database.read() as connection:
            body = connection.scalar(select(t.version.c.body).where(t.version.c.id == id))
        if body is None:
            raise NotFound(f"no version {id!r}; `agentloop models list` shows what there is")
        return Version.from_line(body)

    def versions(self) -> tuple[Version, ...]:
        """Every version, oldest first."""
        with self._database.read() as connection:
            query = select(t.version.c.body).order_by(t.version.c.created_at, t.version.c.id)
            return tuple(Version.from_line(body) for body in connection.scalars(query))

    def move(self, move: AliasMove) -> None:
        """Add one move to the history of an agent's alias. From here on it is what is live."""
        with self._database.write() as connection:
            connection.execute(t.alias_move.insert(), [move.model_dump()])

    def moves(self, agent: str) -> tuple[AliasMove, ...]:
        """The history of an agent's alias, oldest first; empty when it never moved."""
        alias = t.alias_move
        with self._database.read() as connection:
            query = select(alias.c.agent, alias.c.version, alias.c.at, alias.c.reason)
            rows = connection.execute(query.where(alias.c.agent == agent).order_by(alias.c.seq))
            return tuple(AliasMove(**row) for row in rows.mappings())

    def aliases(self) -> dict[str, str | None]:
        """Agent -> the version that is live, None for the agent's own model."""
        alias = t.alias_move
        with self._database.read() as connection:
            query = select(alias.c.agent, alias.c.version).order_by(alias.c.seq)
            return {row.agent: row.version for row in connection.execute(query)}

    # ------------------------------------------------------------------ trials

    def put_trial(self, trial: Trial) -> None:
        """Write a trial down, or that it has stopped."""
        row = trial.model_dump(include={"id", "started_at", "stopped_at"})
        with self._database.write() as connection:
            self._database.upsert(connection, t.trial, [row | {"body": trial.to_line()}])

    def trial(self, id: str) -> Trial:
        """The trial of that id, or `NotFound`."""
        with self._database.read() as connection:
            body = connection.scalar(select(t.trial.c.body).where(t.trial.c.id == id))
        if body is None:
            raise NotFound(f"no trial {id!r}; `agentloop trial status` shows what there is")
        return Trial.from_line(body)

    def trials(self, *, running: bool = False) -> tuple[Trial, ...]:
        """Every trial, oldest first; only those that go on, if asked."""
        query = select(t.trial.c.body).order_by(t.trial.c.started_at, t.trial.c.id)
        if running:
            query = query.where(t.trial.c.stopped_at.is_(None))
        with self._database.read() as connection:
            return tuple(Trial.from_line(body) for body in connection.scalars(query))

    # ------------------------------------------------------------------ lineage

    def lineage(self, version_id: str) -> Lineage:
        """Version -> job -> dataset -> traces.

        Raises:
            NotFound: there is no such version.
        """
        version = self.version(version_id)
        job = self.job(version.job) if version.job else None
        if version.dataset is None:
            return Lineage(version, job, None, ())
        dataset = self.manifest(version.dataset)
        return Lineage(version, job, dataset, self.traces_of(version.dataset))
