"""Runs a command that dies with SIGSYS at the first socket that is not a local one; for Linux, without privileges.

    python no_network.py COMMAND [ARGUMENT ...]

The kernel watches (seccomp), so that libraries in C are seen too, and so are all processes that the command starts.
"""

import ctypes
import os
import platform
import socket
import struct
import sys

_SOCKET_CALL = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # AUDIT_ARCH_*, the number of socket()
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in seccomp_data
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
NOT_HERE = 77  # the exit code where the kernel has no such filter


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install() -> bool:
    """From now on, in this process and its children. False where that is not possible."""
    if sys.platform != "linux" or platform.machine() not in _SOCKET_CALL:
        return False
    architecture, number = _SOCKET_CALL[platform.machine()]
    instructions = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, 4, architecture),
        (_LOAD, 0, 0, _NUMBER),
        (_EQUAL, 0, 2, number),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 0, 1, socket.AF_UNIX),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _KILL),
    ]
    packed = b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)
    program = _Program(len(instructions), packed)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return bool(
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        and prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0
    )


if __name__ == "__main__":
    if not install():
        sys.exit(NOT_HERE)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606
