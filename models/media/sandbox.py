"""Give up what a decoding process does not need: network, identity, files, other processes, unlimited memory.

Each step is taken where the system permits it (a container may forbid `unshare`, only root can change its identity);
limits on memory, CPU time and files always hold. `confine` says which steps were taken.
"""

import contextlib
import ctypes
import math
import os
import resource
import signal
import sys

_NOBODY = 65534
_CLONE_NEWNET = 0x40000000
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_MAX_OPEN_FILES = 16


def confine(memory_bytes: int, parent_pid: int) -> list[str]:
    """Confine this process for good. Call once, when everything is imported; returns the names of the steps taken.

    Raises SystemExit when the parent is gone already: nobody would ever end this process.
    """
    taken = []
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is not None:
        if libc.unshare(_CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
            taken.append("no-network")
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
            taken.append("nobody")
    if libc is not None:  # after the change of identity, which clears it
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if os.getppid() != parent_pid:
        raise SystemExit("the parent is gone")
    for name, limit in (
        ("RLIMIT_AS", memory_bytes),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_NOFILE", _MAX_OPEN_FILES),
        ("RLIMIT_NPROC", 0),  # no new process or thread
    ):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # macOS has no RLIMIT_AS worth the name
            resource.setrlimit(getattr(resource, name), (limit, limit))
            taken.append(name)
    return taken


def allow_cpu_time(seconds: float) -> None:
    """Let this process use so much more CPU time from now on; at the end the kernel kills it (SIGXCPU)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(usage.ru_utime + usage.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
