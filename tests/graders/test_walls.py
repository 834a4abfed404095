"""What an author's code cannot do, guard by guard and with all of them."""

import os
import socket

import pytest

from agentloop.graders.sandbox import GUARDS, Answer

from .boxes import boxed, call, needs


def test_no_secret_of_ours_is_in_its_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    body = """
        import os
        assert 'sk-secret' not in ' '.join([*os.environ, *os.environ.values()])
        return len([name for name in os.environ if 'KEY' in name or 'TOKEN' in name])
    """
    assert call(body) == Answer(0.0)


READING = [("landlock",), ("audit",), GUARDS]


@pytest.mark.parametrize("guards", READING, ids="+".join)
def test_it_reads_no_file_of_ours(guards, tmp_path):
    needs(guards[0])
    secret = tmp_path / "secret"
    secret.write_text("sk-secret")
    files = [secret, "/etc/passwd", "/proc/self/environ", f"/proc/{os.getpid()}/environ", "/"]
    for file in [str(file) for file in files]:
        read = "os.listdir" if file == "/" else "open"
        answer = call(f"import os\n{read}({file!r})\nreturn 1", guards=guards)
        assert "PermissionError" in (answer.runtime_error or ""), file


def test_our_environment_is_closed_to_it_without_rules_for_files_too():
    needs("namespaces")
    body = f"return len(open('/proc/{os.getpid()}/environ', 'rb').read())"
    answer = call(body, guards=("namespaces",))
    assert "PermissionError" in (answer.runtime_error or "")


@pytest.mark.parametrize("guards", READING, ids="+".join)
def test_it_writes_in_its_own_folder_only(guards, tmp_path):
    needs(guards[0])
    target = tmp_path / "target"
    target.write_text("ours")
    own = "open('note', 'w').write('abc')\nimport os\nos.mkdir('d')\nos.rename('note', 'd/n')\n"
    assert call(own + "return len(open('d/n').read())", guards=guards) == Answer(3.0)
    for attempt in (
        f"open({str(target)!r}, 'w')",
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"import os; os.remove({str(target)!r})",
        f"import os; os.rename({str(target)!r}, 'mine')",
        f"import os; os.symlink({str(target)!r}, 'link'); open('link').read()",
        f"import os; os.truncate({str(target)!r}, 0)",
    ):
        answer = call(f"{attempt}\nreturn 1", guards=guards)
        assert "PermissionError" in (answer.runtime_error or ""), attempt
    assert (target.read_text(), list(tmp_path.iterdir())) == ("ours", [target])


def state_of(path):
    about = path.stat()
    return (about.st_mode, about.st_uid, about.st_mtime_ns, about.st_size, os.listxattr(path))


@pytest.mark.parametrize("guards", [("seccomp",), GUARDS], ids="+".join)
def test_what_is_said_of_a_file_of_ours_stays(guards, tmp_path):
    needs("seccomp")
    target = tmp_path / "target"
    target.write_text("ours")
    before = state_of(target)
    for attempt in (
        f"os.chmod({str(target)!r}, 0o777)",
        f"os.chown({str(target)!r}, os.getuid(), os.getgid())",
        f"os.utime({str(target)!r}, (1, 1))",
        f"os.setxattr({str(target)!r}, 'user.note', b'1')",
        f"os.truncate({str(target)!r}, 0)",
        f"os.open({str(target)!r}, os.O_RDONLY | os.O_TRUNC)",
    ):
        answer = call(f"import os; {attempt}\nreturn 1", guards=guards)
        assert "PermissionError" in (answer.runtime_error or ""), attempt
    assert state_of(target) == before


def test_it_is_not_told_what_happens_in_a_folder_of_ours(tmp_path):
    needs("seccomp")
    body = f"""
        import ctypes
        c = ctypes.CDLL(None)
        return c.inotify_add_watch(c.inotify_init(), {str(tmp_path)!r}.encode(), 0x100)
    """
    assert call(body) == Answer(-1.0)


def test_memory_that_is_in_no_address_space_is_none_of_its_own():
    """Nothing would count it: a few hundred such files would take all that there is."""
    needs("seccomp")
    answer = call("import os\nos.write(os.memfd_create('x'), b'x')\nreturn 1")
    assert "PermissionError" in (answer.runtime_error or "")


def test_its_folder_starts_empty_and_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with boxed("import os\nfound = len(os.listdir())\nopen('x', 'w')\nreturn found") as box:
        assert box.call({}, {}) == Answer(0.0)
        assert [len(list(folder.iterdir())) for folder in tmp_path.iterdir()] == [1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("guards", [*((guard,) for guard in GUARDS), GUARDS], ids="+".join)
def test_it_reaches_no_server(guards):
    needs(guards[0])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        body = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 5)\nreturn 1"
        answer = call(body, guards=guards)
    assert "Error: " in (answer.runtime_error or "")
    assert "refused" not in str(answer.runtime_error)
    assert "timed out" not in str(answer.runtime_error)


def test_not_even_c_code_gets_a_socket_a_program_or_a_child():
    needs("seccomp")
    body = """
        import ctypes
        c = ctypes.CDLL(None)
        refused = [c.socket(2, 1, 0), c.socket(1, 1, 0), c.fork(), c.vfork(),
                   c.execv(b'/bin/true', None), c.unshare(0x10000000),
                   c.kill(1, 0), c.ptrace(0, 0, 0, 0), c.syscall(425, 8, None)]
        return sum(result == -1 for result in refused)
    """
    assert call(body, guards=("seccomp",)) == Answer(9.0)


@pytest.mark.parametrize("guards", [("seccomp",), ("audit",), GUARDS], ids="+".join)
def test_it_starts_no_program_and_signals_nobody(guards):
    needs(guards[0])
    for attempt in (
        "import subprocess; subprocess.run(['true'])",
        "import os; os.fork()",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        f"import os; os.kill({os.getpid()}, 0)",
        "import os; os.kill(-1, 0)",
    ):
        answer = call(f"{attempt}\nreturn 1", guards=guards)
        assert "PermissionError" in (answer.runtime_error or ""), attempt


@pytest.mark.parametrize("command", ["F_SETOWN", "F_SETOWN_EX", "F_SETSIG"])
def test_no_pipe_of_its_own_signals_somebody_else(command):
    """A pipe that is written to may send SIGKILL to whom it was told to."""
    needs("seccomp")
    numbers = {"F_SETOWN": 8, "F_SETOWN_EX": 15, "F_SETSIG": 10}
    body = f"import fcntl, os\nreturn fcntl.fcntl(os.pipe()[0], {numbers[command]}, 0)"
    answer = call(body, guards=("seccomp",))
    assert "PermissionError" in (answer.runtime_error or "")


def test_nobody_gets_less_of_the_machine_because_of_it():
    needs("seccomp")
    for attempt in (
        f"os.setpriority(os.PRIO_PROCESS, {os.getpid()}, 19)",
        f"os.sched_setaffinity({os.getpid()}, [0])",
        f"os.sched_setscheduler({os.getpid()}, os.SCHED_IDLE, os.sched_param(0))",
    ):
        answer = call(f"import os; {attempt}\nreturn 1", guards=("seccomp",))
        assert "PermissionError" in (answer.runtime_error or ""), attempt


def test_what_ends_it_with_us_cannot_be_cut():
    """A pipe of ours that it holds: closed, or made silent, it would let it outlive us."""
    needs("seccomp")
    body = """
        import fcntl, os
        cut = []
        for fd in range(3, 20):
            try: asynchronous = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ASYNC
            except PermissionError: cut.append(fd)
            except OSError: pass
            else: assert not asynchronous
        (lifeline,) = cut
        for attempt in (
            lambda: os.close(lifeline),
            lambda: os.dup2(0, lifeline),
            lambda: fcntl.fcntl(lifeline, fcntl.F_SETFL, 0),
            lambda: fcntl.ioctl(lifeline, 0x5452, b'\\0\\0\\0\\0'),
        ):
            try: attempt()
            except PermissionError: cut.append(lifeline)
        os.closerange(lifeline, lifeline + 1)
        os.fstat(lifeline)
        return len(cut)
    """
    assert call(body) == Answer(5.0)


def test_between_two_calls_it_stands_still():
    """What its author left running would end it, had it the time."""
    body = """
        import os, threading
        def run():
            for n in range(10**9): pass
            os._exit(1)
        threading.Thread(target=run, daemon=True).start()
        return 0.5
    """
    with boxed(body) as box:
        assert box.call({}, {}) == Answer(0.5)
        assert box.pid is not None
        state = os.waitid(os.P_PID, box.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert state is not None
        assert state.si_code == os.CLD_STOPPED
        assert box.call({}, {}) == Answer(0.5)


def test_standard_input_and_output_lead_nowhere(capfd):
    body = """
        import os, sys
        print('out'); print('err', file=sys.stderr); os.write(1, b'raw')
        return len(sys.stdin.read())
    """
    assert call(body) == Answer(0.0)
    assert capfd.readouterr() == ("", "")
