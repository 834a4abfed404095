"""The application: OpenAI's paths over what is on disk, the engine and the queue."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from agentloop.base.records import Json
from agentloop.graders import Address
from agentloop.local.api import (
    chat,
    files,
    graders,
    jobs,
    models,
    permissions,
    refusals,
    responses,
    uploads,
)
from agentloop.local.api.keys import Gate
from agentloop.local.disk.files import Files
from agentloop.local.disk.jobs import Jobs
from agentloop.local.disk.models import Models
from agentloop.local.disk.root import Root
from agentloop.local.disk.uploads import Uploads
from agentloop.local.inference.engine import Engine
from agentloop.local.judges import OwnJudges
from agentloop.local.queue.courier import Courier, Webhook
from agentloop.local.queue.foreman import Foreman


def create_app(
    root: Root,
    bases: Mapping[str, Path],
    *,
    key: str | None = None,
    warm: bool = True,
    max_batch: int = 64,
    memory: int = 0,
    threads: int = 0,
    save_every: float = 30.0,
    webhook: Webhook | None = None,
) -> FastAPI:
    """The application over the folder `root`, which the caller holds; see `serve.serve`.

    Args:
        key: what clients must show; None lets in every program on this machine.
        warm: whether a worker process is started ahead of its job.
        max_batch: sequences of one model that are generated at once.
        memory: bytes of models kept loaded for inference; 0 takes a quarter of the machine's.
        threads: CPU threads for inference; 0 leaves it to torch.
        save_every: seconds of training that a crash may cost, about; see `training.resuming`.
        webhook: who is told of the ends of jobs.

    Raises:
        ConfigError: a base is no model folder.
    """
    stored = (
        Files(root.files),
        Jobs(root.jobs, tell=webhook is not None),
        Models(root.models, bases),
    )
    known_files, known_jobs, known_models = stored

    def judges() -> OwnJudges:
        return OwnJudges(root.url, key, (model.id for model in known_models.all()))

    engine = Engine(max_batch=max_batch, memory=memory, threads=threads)
    foreman = Foreman(
        root,
        known_jobs,
        known_files,
        known_models,
        ready=engine.wait if warm else None,
        save_every=save_every,
        judges=judges,
    )
    courier = None if webhook is None else Courier(known_jobs, webhook)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        engine.start()
        foreman.start()
        if courier is not None:
            courier.start()
        try:
            yield
        finally:
            await run_in_threadpool(foreman.close)
            if courier is not None:
                await run_in_threadpool(courier.close)
            await run_in_threadpool(engine.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    refusals.install(app)
    app.add_middleware(Gate, key=key)

    @app.get("/health")
    async def health() -> Json:
        """Answers at once, whatever is being loaded or trained."""
        return {"status": "ok", "engine": engine.state}

    def asked(model: str) -> Address | None:
        return judges()(model)

    app.include_router(files.router(known_files))
    app.include_router(uploads.router(Uploads(root.uploads), known_files))
    app.include_router(permissions.router())
    app.include_router(jobs.router(known_jobs, known_files, known_models, foreman, asked))
    app.include_router(graders.router(asked))
    app.include_router(models.router(known_models, engine.forget))
    app.include_router(chat.router(known_models, engine))
    app.include_router(responses.router(known_models, engine))
    return app
