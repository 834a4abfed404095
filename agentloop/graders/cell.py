"""The program inside the sandbox: it locks itself in, then grades. `sandbox.py` starts it.

It stands alone: `python -I -S cell.py LIFELINE`, standard library only, because whatever it
imported would be there for the author's code too. Requests and answers are JSON after a length of
four bytes, big-endian. First come the orders, then the source, then samples until the pipe ends.
"""

import ctypes
import json
import math
import os
import resource
import signal
import struct
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

if sys.platform == "linux":
    import fcntl

Orders = Mapping[str, Any]

LONGEST_ERROR = 2000
"""Characters of an exception's text that are passed on."""


def main(lifeline: int) -> NoReturn:
    """Never returns; ends when the requests do, or when the lifeline is cut."""
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    _die_with(lifeline)
    orders = _receive(requests)
    _send(answers, {"guards": _lock_in({**orders, "lifeline": lifeline})})
    sys.path += orders["packages"]
    grader = types.ModuleType("grader")
    sys.modules["grader"] = grader  # dataclasses and pickle look their module up
    _send(answers, {"error": _load(_receive(requests)["source"], grader)})
    while True:
        request = _receive(requests)
        answer = _grade(grader, request["sample"], request["item"])
        _send(answers, {"number": request["number"], **answer})


def _load(source: str, grader: types.ModuleType) -> str | None:
    try:
        exec(compile(source, "grader.py", "exec", dont_inherit=True), grader.__dict__)  # noqa: S102 - what this is for
    except BaseException as error:  # noqa: BLE001 - an author may raise anything
        return _told(error)
    return None


def _grade(grader: types.ModuleType, sample: object, item: object) -> dict[str, object]:
    try:
        return {"reward": _number(grader.grade(sample, item)), "error": None}
    except BaseException as error:  # noqa: BLE001 - an author may raise anything, SystemExit too
        return {"reward": 0.0, "error": _told(error)}


def _number(value: Any) -> float:
    kind = type(value)
    # By the methods and not by the ABC: numpy's bool has them and is not registered.
    if not hasattr(kind, "__float__") and not hasattr(kind, "__index__"):
        raise TypeError(f"grade returned {kind.__name__}, not a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"grade returned {number}, not a finite number")
    return number


def _told(error: BaseException) -> str:
    """The last line of the traceback, and the line of the source it happened in."""
    try:
        frames = traceback.extract_tb(error.__traceback__, -50)
        lines = [frame.lineno for frame in frames if frame.filename == "grader.py"]
        where = f" (line {lines[-1]})" if lines else ""
        return traceback.format_exception_only(error)[-1].strip()[:LONGEST_ERROR] + where
    except BaseException:  # noqa: BLE001 - no memory left, or its __str__ raises
        return type(error).__name__


def _receive(pipe: int) -> dict[str, Any]:
    (length,) = struct.unpack(">I", _read(pipe, 4))
    message: dict[str, Any] = json.loads(_read(pipe, length).decode())
    return message


def _read(pipe: int, length: int) -> bytearray:
    data = bytearray()
    while len(data) < length:
        part = os.read(pipe, length - len(data))
        if not part:
            os._exit(0)  # not sys.exit: no exit handler of the author's may keep us
        data += part
    return data


def _send(pipe: int, message: Mapping[str, object]) -> None:
    body = json.dumps(message).encode()
    data = struct.pack(">I", len(body)) + body
    while data:
        data = data[os.write(pipe, data) :]


# --- the locks ---------------------------------------------------------------------------------


def _lock_in(orders: Orders) -> list[str]:
    """Take every protection that is asked for and that this kernel gives; say which."""
    _limit(resource.RLIMIT_AS, orders["memory"])
    _limit(resource.RLIMIT_FSIZE, orders["disk"])
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 256)
    taken: list[str] = []
    locks: dict[str, Callable[[Orders], bool]] = {}
    if sys.platform == "linux":
        locks = {"namespaces": _leave_namespaces, "landlock": _landlock, "seccomp": _seccomp}
    for name, lock in locks.items():
        if name in orders["guards"] and lock(orders):
            taken.append(name)
    if "seccomp" not in taken:
        _limit(resource.RLIMIT_NPROC, 0)  # counts threads too, and does not bind root
    if "audit" in orders["guards"]:
        _audit(orders, files="landlock" not in taken)
        taken.append("audit")
    return taken


def _limit(what: int, value: int) -> None:
    try:
        _, hard = resource.getrlimit(what)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(what, (value, value))
    except (OSError, ValueError):
        pass  # macOS has no RLIMIT_AS worth the name


def _die_with(lifeline: int) -> None:
    """Have the kernel kill us when the other end of the pipe closes."""
    if sys.platform == "linux":
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)


def _system(name: str, *arguments: object) -> int:
    """A function of the C library; -1 when it fails or is not there."""
    function = getattr(ctypes.CDLL(None), name, None)
    # Whole registers: the kernel looks at all of them.
    wide = (ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    return -1 if function is None else int(function(*wide))


def _syscall(number: int, *arguments: object) -> int:
    return _system("syscall", number, *arguments)


def _leave_namespaces(_: Orders) -> bool:
    """An empty network, and no power over processes outside; then give up every privilege."""
    user, network, ipc = 0x10000000, 0x40000000, 0x08000000
    left = _system("unshare", user | network | ipc) == 0
    header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
    _system("capset", header, nothing)
    return left


# Rights over files, as bits: see linux/landlock.h. A later kernel knows more of them.
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_FILE_RIGHTS = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 14) | (1 << 15)
_RIGHTS_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}


def _landlock(orders: Orders) -> bool:
    """No file but those we may read and our folder; no TCP; no signal to other processes."""
    version = _syscall(444, None, 0, 1)
    if version < 1:
        return False
    rights = max(r for v, r in _RIGHTS_BY_VERSION.items() if v <= version)
    attributes = struct.pack("QQQ", rights, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _syscall(444, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    read = _EXECUTE | _READ_FILE | _READ_DIR
    for path in orders["readable"]:
        _allow(ruleset, path, read)
    _allow(ruleset, os.devnull, rights)
    _allow(ruleset, orders["scratch"], rights)
    return _no_new_privileges() and _syscall(446, ruleset, 0) == 0


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not on this system
    if not os.path.isdir(path):  # noqa: PTH112 - one import less in here
        rights &= _FILE_RIGHTS
    # struct landlock_path_beneath_attr is packed: 64 bits of rights, 32 of descriptor.
    _syscall(445, ruleset, 1, struct.pack("=Qi", rights, fd), 0)
    os.close(fd)


def _no_new_privileges() -> bool:
    return _system("prctl", 38, 1, 0, 0, 0) == 0


_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""The kernel's name for each, and the column of its numbers below."""

_FORBIDDEN = {
    # A network, programs, processes, and a hand on other processes.
    "socket": (41, 198),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    # How much of the machine others get.
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # Ways around this filter, and into the kernel.
    "io_uring_setup": (425, 425),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # What belongs to all processes of a user where there are no namespaces.
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "mq_open": (240, 180),
    # Memory that is in no address space, so that no limit counts it.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    # Landlock guards what is in a file, not its owner, mode, times and attributes;
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    # nor who watches a folder; and not, before its version 3, how long a file is.
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    "truncate": (76, 45),
}
_ONLY_ITSELF = {"kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261)}
_CLONE, _CLONE_THREAD = (56, 220), 0x10000
_MISSING = {"clone3": (435, 435), "openat2": (437, 437), "close_range": (436, 436)}
"""The C library does without them, and asks for calls whose arguments can be looked at."""

_ALL = 0xFFFFFFFF
_SETOWN, _SETSIG, _SETOWN_EX = 8, 10, 15
_FIOSETOWN, _SIOCSPGRP = 0x8901, 0x8902
_ACCESS, _TRUNCATE = 0o3, 0o1000


def _unfit(lifeline: int) -> dict[tuple[int, int | None], tuple[tuple[int, int, int], ...]]:
    """Calls that are refused for some arguments: where `argument & mask == value`."""
    signals_others = tuple((1, _ALL, command) for command in (_SETOWN, _SETSIG, _SETOWN_EX))
    # To empty a file while opening it to read: a write, but not to Landlock before version 3.
    empties = [(_ACCESS | _TRUNCATE, _TRUNCATE), (_ACCESS | _TRUNCATE, _ACCESS | _TRUNCATE)]
    return {
        (72, 25): (*signals_others, (0, _ALL, lifeline)),  # fcntl
        (16, 29): ((1, _ALL, _FIOSETOWN), (1, _ALL, _SIOCSPGRP), (0, _ALL, lifeline)),  # ioctl
        (2, None): tuple((1, *bits) for bits in empties),  # open
        (257, 56): tuple((2, *bits) for bits in empties),  # openat
        (3, 57): ((0, _ALL, lifeline),),  # close
        (33, None): ((1, _ALL, lifeline),),  # dup2
        (292, 24): ((1, _ALL, lifeline),),  # dup3
    }


def _seccomp(orders: Orders) -> bool:
    """No sockets, no other programs or processes, no hand on other processes or their files."""
    if os.uname().machine not in _ARCHITECTURES or sys.maxsize < 2**32:
        return False
    architecture, column = _ARCHITECTURES[os.uname().machine]
    load, mask, equal, at_least, any_bit, end = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
    number, arch, first_argument = 0, 4, 16
    allow, kill, refuse, missing = 0x7FFF0000, 0x80000000, 0x50001, 0x50026  # EPERM, ENOSYS
    code = [(load, 0, 0, arch), (equal, 1, 0, architecture), (end, 0, 0, kill)]
    code += [(load, 0, 0, number), (at_least, 0, 1, 0x40000000), (end, 0, 0, refuse)]
    for numbers in _FORBIDDEN.values():
        if (forbidden := numbers[column]) is not None:
            code += [(equal, 0, 1, forbidden), (end, 0, 0, refuse)]
    for numbers in _MISSING.values():
        code += [(equal, 0, 1, numbers[column]), (end, 0, 0, missing)]
    for numbers, unfit in _unfit(orders["lifeline"]).items():
        tests = []
        for argument, bits, value in unfit:
            tests += [(load, 0, 0, first_argument + 8 * argument), (mask, 0, 0, bits)]
            tests += [(equal, 0, 1, value), (end, 0, 0, refuse)]
        if (named := numbers[column]) is not None:
            code += [(equal, 0, len(tests) + 1, named), *tests, (end, 0, 0, allow)]
    # Threads are clones too.
    code += [(equal, 0, 4, _CLONE[column]), (load, 0, 0, first_argument)]
    code += [(any_bit, 0, 1, _CLONE_THREAD), (end, 0, 0, allow), (end, 0, 0, refuse)]
    for numbers in _ONLY_ITSELF.values():
        code += [(equal, 0, 5, numbers[column]), (load, 0, 0, first_argument)]
        code += [(equal, 2, 0, os.getpid()), (equal, 1, 0, 0), (end, 0, 0, refuse)]
        code += [(end, 0, 0, allow)]
    code += [(end, 0, 0, allow)]
    steps = b"".join(struct.pack("HBBI", *step) for step in code)
    buffer = ctypes.create_string_buffer(steps, len(steps))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
    return _no_new_privileges() and _system("prctl", 22, 2, program, 0, 0) == 0


_EVENTS = (
    *("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"),
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn"),
    *("os.spawn", "pty.spawn", "os.kill", "os.killpg", "resource.prlimit"),
)
_READING = {"open", "os.listdir", "os.scandir", "os.chdir"}
_WRITING = {
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"),
    *("os.chmod", "os.chown", "os.utime", "os.setxattr", "os.removexattr"),
}


def _audit(orders: Orders, *, files: bool) -> None:
    """Python's own refusals: clear sentences; and, without Landlock, the only guard of files."""
    home = os.path.realpath(orders["scratch"])
    readable = (home, "/dev/null", *map(os.path.realpath, orders["readable"]))

    def inside(path: object, roots: tuple[str, ...]) -> bool:
        if not isinstance(path, str | bytes):
            return True  # a descriptor: it was opened before, or by these rules
        real = os.path.realpath(os.fsdecode(path))
        return any(real == root or real.startswith(root + "/") for root in roots)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS and not (event == "os.kill" and arguments[0] == os.getpid()):
            raise PermissionError(f"a grader has no network and no other processes: {event}")
        if not files or (event not in _READING and event not in _WRITING):
            return
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        if event in _WRITING or (event == "open" and (arguments[2] or 0) & writes):
            allowed = all(inside(path, (home, "/dev/null")) for path in arguments)
        else:
            allowed = inside(arguments[0], readable)
        if not allowed:
            raise PermissionError(f"a grader has only its own folder: {event} {arguments[0]!r}")

    sys.addaudithook(hook)


if __name__ == "__main__":
    main(int(sys.argv[1]))
