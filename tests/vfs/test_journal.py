"""The last failures: counted when alike, newest last, never more than are kept."""

import itertools
import threading

from onefs.errors import ContentError, OnefsError, UnreachableError
from onefs.fuse.errnos import errno_name
from onefs.vfs.control import errors_text
from onefs.vfs.journal import KEPT, Journal


def journal() -> Journal:
    ticks = itertools.count(1_700_000_000)
    return Journal(errno_name, lambda: float(next(ticks)))


def test_a_failure_is_kept_with_all_that_is_known() -> None:
    kept = journal()
    kept.record("lab/a.npy", UnreachableError("The server is down.", "Try again."))
    (failure,) = kept.failures()
    assert (failure.path, failure.errno_name, failure.count) == ("lab/a.npy", "EHOSTUNREACH", 1)
    assert (failure.reason, failure.remedy) == ("The server is down.", "Try again.")


def test_the_same_again_counts_and_comes_last() -> None:
    kept = journal()
    for path in ("a", "b", "a"):
        kept.record(path, ContentError("Wrong."))
    kept.record("a", ContentError("Wrong in another way."))
    assert [(failure.path, failure.reason, failure.count) for failure in kept.failures()] == [
        ("b", "Wrong.", 1),
        ("a", "Wrong.", 2),
        ("a", "Wrong in another way.", 1),
    ]
    times = [failure.time_s for failure in kept.failures()]
    assert times == sorted(times)


def test_the_oldest_are_forgotten() -> None:
    kept = journal()
    for number in range(KEPT + 10):
        kept.record(f"file {number}", ContentError("Wrong."))
    assert [failure.path for failure in kept.failures()] == [f"file {number}" for number in range(10, KEPT + 10)]


def test_many_threads_lose_no_count() -> None:
    kept = journal()
    threads = [
        threading.Thread(target=lambda: [kept.record("a", ContentError("Wrong.")) for _ in range(200)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [failure.count for failure in kept.failures()] == [1600]


def test_as_text_each_failure_is_one_line() -> None:
    kept = journal()
    assert errors_text(kept) == ""
    kept.record("a", ContentError("Wrong.", "Ask."))
    kept.record("forged\n2023-11-14T22:13:20Z\tEIO\tname\udcff\t", OnefsError("Bad\nthing."))
    lines = errors_text(kept).splitlines()
    assert lines[0] == "2023-11-14T22:13:20Z\tEIO\ta\tWrong.\tAsk.\t×1"
    assert len(lines) == 2
    assert len(lines[1].split("\t")) == 6
    errors_text(kept).encode()
