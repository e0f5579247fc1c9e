"""`KernelFacts`: what the kernel and the program that serves a mount agreed on."""

from dataclasses import dataclass

ACTIVE = "active"
"""What the status shows for a feature that is in use."""


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """How the kernel serves one mount. `passthrough` and `kept_listings` are "" if active, else a sentence why not."""

    adapter: str
    """`session` or `pyfuse3`."""
    protocol: str
    """Version of the FUSE protocol, such as 7.45; "" if the adapter does not tell."""
    passthrough: str
    """Whether the kernel reads verified files by itself."""
    kept_listings: str
    """Whether the kernel keeps listings of folders."""
    read_ahead_kib: int
    """How far the kernel may read ahead, at most; 0 if the adapter does not tell."""
