"""`KernelStatus`: how the kernel serves a mount, for the status."""

from typing import TYPE_CHECKING, Any, Protocol

from onefs.fuse.kernel import ACTIVE, KernelFacts

if TYPE_CHECKING:
    from onefs.fuse.counters import Counters
    from onefs.fuse.mounters import Mounter
    from onefs.fuse.passthrough import Passthrough
    from onefs.recording.recorder import Recorder

WHILE_RECORDING = "Reads are recorded, and those of the kernel would not be seen. Turn it off with: onefs record off."


class Adapter(Protocol):
    """What speaks to the kernel."""

    @property
    def facts(self) -> KernelFacts:
        """What it agreed on with the kernel."""


class KernelStatus:
    """What the adapter of a mount agreed on with the kernel, and what is in force now."""

    def __init__(
        self, mounter: "Mounter", recorder: "Recorder", passthrough: "Passthrough", counters: "Counters"
    ) -> None:
        self._mounter = mounter
        self._recorder = recorder
        self._passthrough = passthrough
        self._counters = counters
        self.adapter: Adapter | None = None
        """None until it is mounted."""

    def facts(self) -> dict[str, Any]:
        """The same as JSON values. A feature is `active`, or the sentence why it is not."""
        if self.adapter is None:
            return {}
        facts = self.adapter.facts
        no_passthrough = facts.passthrough or self._passthrough.why_not
        return {
            "adapter": facts.adapter,
            "protocol": facts.protocol or None,
            "passthrough": no_passthrough or (WHILE_RECORDING if self._recorder.turn else ACTIVE),
            "passed_through_opens": self._counters.passed_through,
            "passed_through_inodes": self._passthrough.open_inodes,
            "kept_listings": facts.kept_listings or ACTIVE,
            "read_ahead_kib": self._mounter.read_ahead_kib() or facts.read_ahead_kib or None,
        }
