"""The application: OpenAI's paths over what is on disk, the engine and the queue."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from agentloop.base.records import Json
from agentloop.local.api import chat, files, graders, jobs, models, refusals, responses
from agentloop.local.api.keys import Gate
from agentloop.local.disk.files import Files
from agentloop.local.disk.jobs import Jobs
from agentloop.local.disk.models import Models
from agentloop.local.disk.root import Root
from agentloop.local.inference.engine import Engine
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
) -> FastAPI:
    """The application over the folder `root`, which the caller holds; see `serve.serve`.

    Args:
        key: what clients must show; None lets in every program on this machine.
        warm: whether a worker process is started ahead of its job.
        max_batch: sequences of one model that are generated at once.
        memory: bytes of models kept loaded for inference; 0 takes a quarter of the machine's.
        threads: CPU threads for inference; 0 leaves it to torch.

    Raises:
        ConfigError: a base is no model folder.
    """
    stored = Files(root.files), Jobs(root.jobs), Models(root.models, bases)
    known_files, known_jobs, known_models = stored
    engine = Engine(max_batch=max_batch, memory=memory, threads=threads)
    foreman = Foreman(
        root, known_jobs, known_files, known_models, ready=engine.wait if warm else None
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        engine.start()
        foreman.start()
        try:
            yield
        finally:
            await run_in_threadpool(foreman.close)
            await run_in_threadpool(engine.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    refusals.install(app)
    app.add_middleware(Gate, key=key)

    @app.get("/health")
    async def health() -> Json:
        """Answers at once, whatever is being loaded or trained."""
        return {"status": "ok", "engine": engine.state}

    app.include_router(files.router(known_files))
    app.include_router(jobs.router(known_jobs, known_files, known_models, foreman))
    app.include_router(graders.router())
    app.include_router(models.router(known_models, engine.forget))
    app.include_router(chat.router(known_models, engine))
    app.include_router(responses.router(known_models, engine))
    return app
