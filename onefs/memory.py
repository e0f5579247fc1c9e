"""Memory and start-up time: how much freed memory the daemon keeps, and keeping pandas out of it and of queries."""

import ctypes
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
AT_ONCE_BYTES = 4 << 20
FREE_BYTES = 8 << 20


class _NoPandas(MetaPathFinder):
    """Answers, before any other finder is asked, that there is no pandas: to all threads, or to those that say so."""

    def __init__(self) -> None:
        self.for_all = False
        self.thread = threading.local()
        self._was_asked_in_vain = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None leaves all other modules to the next finder."""
        if fullname != "pandas":
            return None
        if self.for_all or getattr(self.thread, "is_without", False):
            self._was_asked_in_vain = True
            raise ModuleNotFoundError("onefs does without pandas here.", name=fullname)
        return self._found_and_told(path, target) if self._was_asked_in_vain else None

    def _found_and_told(self, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        """Where the other finders find pandas; pyarrow is told of it as soon as it is loaded."""
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec("pandas", path, target) for finder in others)), None)
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:
            load = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                _tell_pyarrow()

            loader.exec_module = exec_module
        return spec


def _tell_pyarrow() -> None:
    """Have pyarrow look for pandas again: it remembers that there was none, and would take a Series for any list."""
    library = sys.modules.get("pyarrow.lib")
    if library is not None:
        with suppress(ImportError):  # this pandas is too old for it
            _ = library._pandas_api.pd


_no_pandas = _NoPandas()


def keep_pandas_out() -> None:
    """Have `import pandas` fail in this process from now on.

    pyarrow imports pandas as soon as it makes an array, if it finds it. The daemon needs none of it, and would pay
    for it with memory and with time at its start.
    """
    _no_pandas.for_all = True
    _look_here_first()


@contextmanager
def without_pandas() -> Iterator[None]:
    """A block in which `import pandas` fails in this thread, unless it is loaded already: pyarrow does without it.

    A later `import pandas`, and what pyarrow needs it for then, is as if nothing had been.
    """
    if "pandas" in sys.modules:
        yield
        return
    _look_here_first()
    before = getattr(_no_pandas.thread, "is_without", False)
    _no_pandas.thread.is_without = True
    try:
        yield
    finally:
        _no_pandas.thread.is_without = before


def _look_here_first() -> None:
    if _no_pandas not in sys.meta_path:
        sys.meta_path.insert(0, _no_pandas)


def keep_for_next_time() -> None:
    """Keep a few freed MiB per thread rather than give them back to the kernel.

    Bytes pass through here in pieces of a MiB, each in new memory: to fault in its pages costs more than to fill them.
    Where the C library is not glibc, nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, AT_ONCE_BYTES)
        mallopt(M_TRIM_THRESHOLD, FREE_BYTES)
