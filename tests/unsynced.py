"""Runs a command whose processes never wait for a disk: syncs succeed at once, and nothing is synced.

What tests write need not outlive a power cut, and most of their time would go into waiting for it to be safe. Use as
a program: python unsynced.py COMMAND…. Where the kernel does not allow it, the command syncs as ever.
"""

import ctypes
import os
import platform
import struct
import sys

SYNCS = {
    "x86_64": (0xC000003E, (74, 75, 162, 277, 306)),
    "aarch64": (0xC00000B7, (82, 83, 81, 84, 267)),
}
"""By machine, what the kernel calls it, and its numbers of fsync, fdatasync, sync, sync_file_range and syncfs."""
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, MACHINE_AT = 0, 4
ALLOW, SUCCEED = 0x7FFF0000, 0x00050000


class Program(ctypes.Structure):
    """What the kernel takes as a filter of system calls."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def leave_out_syncs() -> None:
    """Have syncs of this process and of all that it starts do nothing, if that is allowed."""
    if platform.machine() not in SYNCS:
        return
    machine, numbers = SYNCS[platform.machine()]
    tests = [(JUMP_IF_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    steps = [
        (LOAD_WORD, 0, 0, MACHINE_AT),
        (JUMP_IF_EQUAL, 0, len(numbers) + 1, machine),
        (LOAD_WORD, 0, 0, NUMBER_AT),
        *tests,
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, SUCCEED),
    ]
    packed = b"".join(struct.pack("HBBI", *step) for step in steps)
    ctypes.CDLL(None).prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(len(steps), packed)), 0, 0)


if __name__ == "__main__":
    leave_out_syncs()
    os.execvp(sys.argv[1], sys.argv[1:])
