"""The exit codes of `onefs`. `mount.onefs` has those of mount(8) instead."""

FAILED = 1
WRONG_USE = 2
"""The command line or a setting is wrong."""
WRONG_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: where systemd starts a mount, it says that another start would fail, too."""
INTERRUPTED = 130
"""Ctrl-C, as shells have it: 128 and the number of SIGINT."""
