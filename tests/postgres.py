"""A PostgreSQL server for one test session: made in a temporary folder, gone afterwards."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

PROGRAMS = "/usr/lib/postgresql/*/bin"


def home() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, None where PostgreSQL is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    newest = sorted(Path("/").glob(f"{PROGRAMS[1:]}/initdb"), key=lambda p: p.parent.parent.name)
    return newest[-1].parent if newest else None


def why_not() -> str | None:
    """Why no server can be started here; None when one can."""
    if home() is None:
        return f"no initdb on PATH or in {PROGRAMS}"
    if os.geteuid() == 0 and _user() is None:
        return "PostgreSQL does not run as root, and there is no user `postgres` to run it as"
    return None


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server's database `postgres`. Nobody outside this machine can reach it: it
    listens on a socket in its own folder."""
    programs, user = home(), _user()
    assert programs is not None
    folder = Path(mkdtemp(prefix="agentloop-pg-", dir="/tmp"))  # a socket's path must be short
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = {"user": user, "group": user, "extra_groups": []}
        shutil.chown(folder, user, user)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, "-D", folder / "data", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
            cwd=folder,
            **who,
        )

    try:
        run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        # fsync off: what a test writes need not survive the machine.
        fast = "-c fsync=off -c full_page_writes=off -c max_connections=50"
        quiet = f"-c listen_addresses='' -k {folder} -p 5432"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", f"{fast} {quiet}", "start")
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> Any:
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return None
