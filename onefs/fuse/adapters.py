"""The choice between the two adapters to the kernel: the session of `onefs.fuse.session`, and pyfuse3."""

import importlib
import importlib.util
import os
import re
from typing import Literal, Protocol

from onefs.errors import MountError
from onefs.fuse.kernel import KernelFacts
from onefs.fuse.notify import KernelCaches
from onefs.fuse.operations import Operations
from onefs.fuse.passthrough import Passthrough
from onefs.fuse.session import Session
from onefs.settings import Settings

Adapter = Literal["session", "pyfuse3"]


class KernelAdapter(KernelCaches, Protocol):
    """Answers the kernel's requests for one mount, and notifies it."""

    @property
    def facts(self) -> KernelFacts:
        """What it agreed on with the kernel."""

    async def serve(self) -> None:
        """Answer the kernel until the mount is gone."""

    def close(self) -> None:
        """Close the connection. The mount stays, and nobody serves it."""


FIRST_LINUX = (4, 9)
"""The first Linux whose FUSE protocol, 7.26, the session speaks."""
LIBRARY = "pyfuse3"
_RELEASE = re.compile(r"(\d+)\.(\d+)")
_REMEDY = (
    "Install it into the environment of onefs: sudo apt install libfuse3-dev pkg-config gcc python3-dev, then "
    'pip install "onefs[pyfuse3]"; or use kernel_adapter = session, which needs no library.'
)


def chosen_adapter(settings: Settings) -> Adapter:
    """The adapter to mount with, whose libraries are loaded. Raises `MountError`."""
    if settings.kernel_adapter == "pyfuse3":
        _load_library()
        return "pyfuse3"
    if settings.kernel_adapter == "auto" and _is_too_old(os.uname().release) and importlib.util.find_spec(LIBRARY):
        return "pyfuse3"
    return "session"


def adapter_of(name: Adapter, connection: int, operations: Operations, passthrough: Passthrough) -> KernelAdapter:
    """The adapter of that name, for an open connection to the kernel, which it closes in the end."""
    if name == "session":
        return Session(connection, operations, passthrough)
    from onefs.fuse.pyfuse3_adapter import Pyfuse3Adapter

    return Pyfuse3Adapter(connection, operations)


def _is_too_old(release: str) -> bool:
    """Whether a kernel speaks no protocol that the session does. One whose release says nothing may be tried."""
    numbers = _RELEASE.match(release)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < FIRST_LINUX


def _load_library() -> None:
    """Load pyfuse3. Raises `MountError` if it is not installed, or lacks libfuse."""
    try:
        importlib.import_module(LIBRARY)
    except ModuleNotFoundError as error:
        raise MountError("kernel_adapter is pyfuse3, and pyfuse3 is not installed.", _REMEDY) from error
    except ImportError as error:
        raise MountError(f"kernel_adapter is pyfuse3, and pyfuse3 cannot be loaded: {error}.", _REMEDY) from error
