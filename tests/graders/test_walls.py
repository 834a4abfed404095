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


def test_standard_input_and_output_lead_nowhere(capfd):
    body = """
        import os, sys
        print('out'); print('err', file=sys.stderr); os.write(1, b'raw')
        return len(sys.stdin.read())
    """
    assert call(body) == Answer(0.0)
    assert capfd.readouterr() == ("", "")
