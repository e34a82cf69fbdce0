"""Run a child as somebody other than root, where the program refuses root.

Postgres refuses uid 0. A user namespace that maps the inner uid 1 to the outer 0 satisfies it
without touching the permissions of a single folder.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache

_CLONE_NEWUSER = 0x10000000
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _enter() -> None:
    """Move this process into a new user namespace where root is uid and gid 1."""
    if _LIBC is None or _LIBC.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are not allowed here")
    for name, text in (("uid_map", "1 0 1"), ("setgroups", "deny"), ("gid_map", "1 0 1")):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(descriptor, text.encode())
        os.close(descriptor)


@cache
def _is_allowed() -> bool:
    child = os.fork()
    if child == 0:
        try:
            _enter()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def unprivileged() -> Callable[[], None] | None:
    """What a child must run first so as not to be root; None where it needs nothing.

    Raises:
        PermissionError: this is root, and the kernel allows no user namespaces.
    """
    if os.geteuid() != 0:
        return None
    if not _is_allowed():
        raise PermissionError(
            "Postgres does not run as root, and this kernel allows no user namespaces; "
            "start as an ordinary user, or give the URL of a Postgres server."
        )
    return _enter
