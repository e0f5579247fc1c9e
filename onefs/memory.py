"""Memory and start-up time of the daemon: how much freed memory it keeps, and keeping pandas out of it."""

import ctypes
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
AT_ONCE_BYTES = 4 << 20
FREE_BYTES = 8 << 20


class _NoPandas(MetaPathFinder):
    """Answers, before any other finder is asked, that there is no pandas."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:  # noqa: ARG002
        """None leaves all other modules to the next finder."""
        if fullname == "pandas":
            raise ModuleNotFoundError("The daemon does without pandas.", name=fullname)


def keep_pandas_out() -> None:
    """Have `import pandas` fail in this process from now on.

    pyarrow imports pandas as soon as it makes an array, if it finds it. The daemon needs none of it, and would pay
    for it with memory and with time at its start.
    """
    sys.meta_path.insert(0, _NoPandas())


def keep_for_next_time() -> None:
    """Keep a few freed MiB per thread rather than give them back to the kernel.

    Bytes pass through here in pieces of a MiB, each in new memory: to fault in its pages costs more than to fill them.
    Where the C library is not glibc, nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, AT_ONCE_BYTES)
        mallopt(M_TRIM_THRESHOLD, FREE_BYTES)
