"""What an ordinary process can give up on Linux: Landlock, seccomp, capabilities, through ctypes alone.

Covers files, TCP, abstract sockets, signals, tracing and the system calls that outlive a process or reach others.
Does not cover: the time and memory a program uses (rlimits and the runner do), `stat` on paths (Landlock lets the
existence of a file be seen), and faults of the kernel itself. Each function says what it could not do.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import struct
from collections.abc import Callable, Iterable

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 4, 38, 1, 36
PR_CAPBSET_DROP = 24

READ = 1 << 2 | 1 << 3
EXECUTE = 1 << 0
ABI_RIGHTS = (0, 13, 14, 15, 15, 16, 16)
"""How many file rights Landlock ABI `i` knows."""
SCOPE_SIGNALS_ABI = 6


def prctl(option: int, *arguments: int) -> int:
    """Call prctl(2); the result, negative on failure."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return int(LIBC.prctl(option, *(ctypes.c_ulong(value) for value in padded)))


def landlock_abi() -> int:
    """Return the kernel's Landlock version, 0 when it has none."""
    return max(
        0, int(LIBC.syscall(ctypes.c_long(444), None, ctypes.c_size_t(0), ctypes.c_uint32(1)))
    )


def landlock_ruleset(
    readable: Iterable[str], writable: Iterable[str], *, exec_writable: bool = False
) -> int | None:
    """Make a ruleset: beneath `readable` files may be read and run, beneath `writable` also changed.

    Everything else, TCP, abstract sockets and signals to the outside are refused as far as the kernel can.
    Returns a descriptor for `landlock_enter`, `None` without Landlock. Paths that are missing are left out.
    """
    abi = landlock_abi()
    if not abi:
        return None
    rights = (1 << ABI_RIGHTS[min(abi, len(ABI_RIGHTS) - 1)]) - 1
    attributes = struct.pack(
        "QQQ", rights, 3 if abi >= 4 else 0, 3 if abi >= SCOPE_SIGNALS_ABI else 0
    )
    size = 24 if abi >= SCOPE_SIGNALS_ABI else 16 if abi >= 4 else 8
    ruleset = int(
        LIBC.syscall(ctypes.c_long(444), attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    )
    if ruleset < 0:
        return None
    everything = rights if exec_writable else rights & ~EXECUTE
    for paths, granted in ((readable, READ | EXECUTE), (writable, everything)):
        for path in paths:
            _allow(ruleset, path, granted)
    return ruleset


def _allow(ruleset: int, path: str, granted: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not os.path.isdir(path):
        granted &= EXECUTE | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
    rule = struct.pack("=Qi", granted, beneath)
    LIBC.syscall(
        ctypes.c_long(445), ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0)
    )
    os.close(beneath)


def landlock_entry(ruleset: int | None) -> Callable[[], object] | None:
    """Prepare the call that puts a process, and all it starts, into the ruleset's domain, for good."""
    if ruleset is None:
        return None
    return functools.partial(
        LIBC.syscall, ctypes.c_long(446), ctypes.c_int(ruleset), ctypes.c_uint32(0)
    )


def drop_capabilities() -> None:
    """Give up every capability, so that user 0 is as weak as its file permissions."""
    for capability in range(64):
        prctl(PR_CAPBSET_DROP, capability)
    header = struct.pack("Ii", 0x20080522, 0)
    LIBC.capset(header, bytes(24))


# Seccomp. System call numbers by machine, in one line per call: name, x86_64, aarch64.
_CALLS = """
ptrace 101 117|process_vm_readv 310 270|process_vm_writev 311 271|kcmp 312 272|pidfd_getfd 438 438
process_madvise 440 440|process_mrelease 448 448|unshare 272 97|setns 308 268|mount 165 40|umount2 166 39
pivot_root 155 41|chroot 161 51|open_tree 428 428|move_mount 429 429|fsopen 430 430|fsconfig 431 431
fsmount 432 432|fspick 433 433|mount_setattr 442 442|bpf 321 280|perf_event_open 298 241|userfaultfd 323 282
io_uring_setup 425 425|io_uring_enter 426 426|io_uring_register 427 427|add_key 248 217|request_key 249 218
keyctl 250 219|shmget 29 194|shmat 30 196|shmctl 31 195|msgget 68 186|msgsnd 69 189|msgrcv 70 188|msgctl 71 187
semget 64 190|semop 65 193|semctl 66 191|semtimedop 220 192|mq_open 240 180|mq_unlink 241 181
kexec_load 246 104|kexec_file_load 320 294|init_module 175 105|finit_module 313 273|delete_module 176 106
reboot 169 142|swapon 167 224|swapoff 168 225|acct 163 89|quotactl 179 60|open_by_handle_at 304 265
name_to_handle_at 303 264|setpriority 141 140|sched_setscheduler 144 119|sched_setparam 142 118
sched_setattr 314 274|ioprio_set 251 30|migrate_pages 256 238|move_pages 279 239|mbind 237 235
set_mempolicy 238 237|memfd_create 319 279|memfd_secret 447 447|socket 41 198|fanotify_init 300 262
personality 135 92|vhangup 153 58|syslog 103 116|lookup_dcookie 212 18|nfsservctl 180 42
"""
_CHMOD = "chmod 90 -1|fchmod 91 52|fchmodat 268 53|fchmodat2 452 452|chown 92 -1|fchown 93 55|lchown 94 -1|fchownat 260 54|utimensat 280 88|utimes 235 -1|futimesat 261 -1|utime 132 -1|setxattr 188 5|lsetxattr 189 6|fsetxattr 190 7|removexattr 197 14|lremovexattr 198 15|fremovexattr 199 16"
_OTHERS = "prlimit64 302 261|sched_setaffinity 203 122|ioctl 16 29|clone 56 220|clone3 435 435|fork 57 -1|vfork 58 -1|kill 62 129|tgkill 234 131|tkill 200 130|rt_sigqueueinfo 129 138|rt_tgsigqueueinfo 297 240|pidfd_send_signal 424 424"
_MACHINES = {"x86_64": (1, 0xC000003E), "aarch64": (2, 0xC00000B7)}
ALLOW, ERRNO, NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000
EPERM, EAGAIN, ENOSYS = 1, 11, 38
SIGNAL_CALLS = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
NEW_NAMESPACES = 0x7E020080
TIOCSTI, TIOCLINUX = 0x5412, 0x541C


def _numbers(table: str, column: int) -> dict[str, int]:
    rows = (row.split() for row in table.replace("\n", "|").split("|") if row.strip())
    return {row[0]: int(row[column]) for row in rows if int(row[column]) >= 0}


class Filter:
    """A seccomp program under construction: a straight list of checks, each ending in a verdict."""

    def __init__(self, architecture: int) -> None:
        self.code = bytearray()
        self._add(0x20, 0, 0, 4)
        self._add(0x15, 1, 0, architecture)
        self._add(0x06, 0, 0, ERRNO | EPERM)
        self._add(0x20, 0, 0, 0)
        self._add(0x35, 0, 1, 0x40000000)
        self._add(0x06, 0, 0, ERRNO | ENOSYS)

    def _add(self, code: int, if_true: int, if_false: int, value: int) -> None:
        self.code += struct.pack("HBBI", code, if_true, if_false, value & 0xFFFFFFFF)

    def answer(self, call: int, verdict: int) -> None:
        """Answer every use of a call with `verdict`."""
        self._add(0x15, 0, 1, call)
        self._add(0x06, 0, 0, verdict)

    def answer_unless(self, call: int, argument: int, value: int, verdict: int) -> None:
        """Answer a call with `verdict` unless its argument (low 32 bits) is `value`."""
        self._add(0x15, 0, 4, call)
        self._add(0x20, 0, 0, 16 + 8 * argument)
        self._add(0x15, 0, 1, value)
        self._add(0x06, 0, 0, ALLOW)
        self._add(0x06, 0, 0, verdict)

    def answer_if_bits(
        self, call: int, argument: int, bits: int, verdict: int, otherwise: int
    ) -> None:
        """Answer a call with `verdict` when its argument has one of `bits`, else with `otherwise`."""
        self._add(0x15, 0, 4, call)
        self._add(0x20, 0, 0, 16 + 8 * argument)
        self._add(0x45, 0, 1, bits)
        self._add(0x06, 0, 0, verdict)
        self._add(0x06, 0, 0, otherwise)

    def refuse_values(self, call: int, argument: int, values: tuple[int, int]) -> None:
        """Refuse a call whose argument is one of two values."""
        self._add(0x15, 0, 5, call)
        self._add(0x20, 0, 0, 16 + 8 * argument)
        self._add(0x15, 1, 0, values[0])
        self._add(0x15, 0, 1, values[1])
        self._add(0x06, 0, 0, ERRNO | EPERM)
        self._add(0x06, 0, 0, ALLOW)


def common_filter() -> bytes | None:
    """Build the filter that the runner is under as well, so that a child need not set it up.

    `None` on a machine whose call numbers are not in the table.
    """
    column, architecture = _MACHINES.get(platform.machine(), (0, 0))
    if not column:
        return None
    program = Filter(architecture)
    other = _numbers(_OTHERS, column)
    program.answer(other["clone3"], ERRNO | ENOSYS)
    program.answer_unless(other["prlimit64"], 0, 0, ERRNO | EPERM)
    program.answer_unless(other["sched_setaffinity"], 0, 0, ERRNO | EPERM)
    program.refuse_values(other["ioctl"], 1, (TIOCSTI, TIOCLINUX))
    for number in _numbers(_CALLS, column).values():
        program.answer(number, ERRNO | EPERM)
    program._add(0x06, 0, 0, ALLOW)
    return bytes(program.code)


def enter_common_filter() -> bool:
    """Put this process, and all it starts, under the common filter, for good; false where that fails."""
    program = common_filter()
    return program is not None and _seccomp_call(program, 0)() == 0


def seccomp_filter(
    *, fork: int, keep_modes: bool, only_pid: int | None = None, signals: int | None = None
) -> bytes | None:
    """Build what a child adds to the common filter; `None` on a machine whose call numbers are not in the table.

    `fork` is the verdict on new processes and threads, `keep_modes` refuses changes of modes, owners and times
    of files (Landlock does not), `only_pid` refuses signals to any other process (for kernels whose Landlock
    does not scope signals), `signals` is the verdict on signals instead. Of two filters the stricter verdict counts, and a refusal is stricter than a question.
    """
    column, architecture = _MACHINES.get(platform.machine(), (0, 0))
    if not column:
        return None
    program = Filter(architecture)
    other = _numbers(_OTHERS, column)
    program.answer_if_bits(other["clone"], 0, NEW_NAMESPACES, ERRNO | EPERM, fork)
    for name in ("fork", "vfork"):
        if name in other:
            program.answer(other[name], fork)
    if signals is not None:
        for name in SIGNAL_CALLS:
            program.answer(other[name], signals)
        program.answer(other["pidfd_send_signal"], ERRNO | EPERM)
    elif only_pid is not None:
        program.answer_unless(other["kill"], 0, only_pid, ERRNO | EPERM)
        program.answer_unless(other["tgkill"], 0, only_pid, ERRNO | EPERM)
        for name in ("tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"):
            program.answer(other[name], ERRNO | EPERM)
    for number in _numbers(_CHMOD if keep_modes else "", column).values():
        program.answer(number, ERRNO | EPERM)
    program._add(0x06, 0, 0, ALLOW)
    return bytes(program.code)


def signal_calls() -> frozenset[int]:
    """Return the numbers of the calls that send signals to a process given by number."""
    column, _ = _MACHINES.get(platform.machine(), (0, 0))
    numbers = _numbers(_OTHERS, column) if column else {}
    return frozenset(numbers[name] for name in SIGNAL_CALLS if name in numbers)


def seccomp_entry(
    *, keep_modes: bool, only_own: bool, ask_about_signals: bool = False
) -> Callable[[], int | None]:
    """Prepare the call that puts a process under the filter, for good.

    The call returns the descriptor on which the kernel asks about each new process, `None` where it does not ask
    and refuses them all. `only_own` refuses signals to other processes; with `ask_about_signals` the kernel asks
    about them too.
    """

    def prepare(pid: int | None) -> Callable[[], int | None]:
        asking = seccomp_filter(
            fork=NOTIFY,
            keep_modes=keep_modes,
            only_pid=pid,
            signals=NOTIFY if ask_about_signals else None,
        )
        refusing = seccomp_filter(fork=ERRNO | EAGAIN, keep_modes=keep_modes, only_pid=pid)
        if asking is None or refusing is None:
            return lambda: None
        ask, refuse = _seccomp_call(asking, 8), _seccomp_call(refusing, 0)

        def enter() -> int | None:
            listener: int = ask()
            if listener < 0:
                refuse()
                return None
            return listener

        return enter

    if only_own:
        return lambda: prepare(os.getpid())()
    return prepare(None)


def _seccomp_call(program: bytes, flags: int) -> Callable[[], int]:
    buffer = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer)), 16
    )
    number = 317 if platform.machine() == "x86_64" else 277
    arguments = (
        ctypes.c_long(number),
        ctypes.c_uint(1),
        ctypes.c_uint(flags),
        ctypes.byref(header),
        buffer,
    )
    return functools.partial(LIBC.syscall, *arguments)
