"""The kernel's part of the status: what is active, and why the rest is not."""

from pathlib import Path

from onefs.fuse.counters import Counters
from onefs.fuse.kernel import KernelFacts
from onefs.fuse.mounters import Mounter
from onefs.fuse.passthrough import SHARED, Passthrough
from onefs.monitoring.kernel_status import KernelStatus
from onefs.recording.recorder import Recorder


class Adapter:
    """One with the facts that it was made with."""

    def __init__(self, facts: KernelFacts) -> None:
        self.facts = facts


def status_of(recorder: Recorder, *facts: KernelFacts, no_passthrough: str = "") -> KernelStatus:
    counters = Counters()
    passthrough = Passthrough(recorder, counters, no_passthrough)
    status = KernelStatus(Mounter(Path("/nowhere")), recorder, passthrough, counters)
    status.adapter = Adapter(*facts) if facts else None
    return status


def new_recorder() -> Recorder:
    return Recorder("archive", lambda dataset, edition: "")


def test_before_the_mount_there_are_no_facts() -> None:
    assert status_of(new_recorder()).facts() == {}


def test_what_is_active_says_so_and_the_rest_says_why_not() -> None:
    status = status_of(new_recorder(), KernelFacts("session", "7.45", "", "The kernel is too old.", 128))
    assert status.facts() == {
        "adapter": "session",
        "protocol": "7.45",
        "passthrough": "active",
        "passed_through_opens": 0,
        "passed_through_inodes": 0,
        "kept_listings": "The kernel is too old.",
        "read_ahead_kib": 128,
    }
    unknown = status_of(new_recorder(), KernelFacts("pyfuse3", "", "No.", "No.", 0)).facts()
    assert (unknown["protocol"], unknown["read_ahead_kib"]) == (None, None)


def test_while_reads_are_recorded_nothing_is_passed_through() -> None:
    recorder = new_recorder()
    status = status_of(recorder, KernelFacts("session", "7.45", "", "", 128))
    recorder.turn_on()
    assert "onefs record off" in status.facts()["passthrough"]
    recorder.turn_off()
    assert status.facts()["passthrough"] == "active"


def test_what_speaks_against_passthrough_is_told() -> None:
    offered = KernelFacts("session", "7.45", "", "", 128)
    assert status_of(new_recorder(), offered, no_passthrough=SHARED).facts()["passthrough"] == SHARED
