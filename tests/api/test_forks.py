"""One object used in several processes: those that a program forks off, as its pools of workers do."""

import ast
import gc
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
from alyx_archive import AlyxArchive, archive_of_arrays

import onefs
from onefs import OneAlyx, forks
from onefs.api import recording
from onefs.demo.server import DemoServer

SESSION = "lab/Subjects/mouse/2024-01-02/001"
NAMES = [f"{SESSION}/alf/spikes.{name}.npy" for name in ("amps", "depths", "times")]
HANGS_S = 20.0
LOCKS = type(threading.Lock()), type(threading.RLock()), threading.Condition


@pytest.fixture
def archive(home: Path) -> AlyxArchive:
    """A session with three arrays of one object."""
    return archive_of_arrays(home, NAMES)


@pytest.fixture
def one(archive: AlyxArchive, server: DemoServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneAlyx]:
    monkeypatch.setenv("ONEFS_DATA_URL", server.data_url)
    monkeypatch.setenv("ONEFS_DATA_USER", "demo")
    monkeypatch.setenv("ONEFS_DATA_PASSWORD", "demo")
    one = OneAlyx(base_url=server.url, username="demo", password="demo", cache_dir=home / "cache", silent=True)
    yield one
    one._archive.close()


def in_a_fork(ask: Callable[[], Any]) -> Any:
    """What a function returns in a process that is forked off."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=lambda: there.send(ask()))
    child.start()
    there.close()
    try:
        return here.recv() if here.poll(HANGS_S) else "it hangs"
    finally:
        child.kill()
        child.join()


def test_a_forked_process_loads_with_the_object_of_its_parent(archive: AlyxArchive, one: OneAlyx) -> None:
    eid = str(archive.sessions[SESSION].eid)
    one.load_dataset(eid, "spikes.amps")  # the threads that fetched it are idle now, and are not in the child
    assert in_a_fork(lambda: len(one.load_dataset(eid, "spikes.times"))) == 10
    assert in_a_fork(lambda: set(one.load_object(eid, "spikes"))) == {"amps", "depths", "times"}
    assert len(one.load_dataset(eid, "spikes.depths")) == 10


def test_a_forked_process_asks_the_database_on_connections_of_its_own(
    archive: AlyxArchive, server: DemoServer, one: OneAlyx
) -> None:
    eid = str(archive.sessions[SESSION].eid)

    def ask() -> tuple[int, str]:
        record = one.alyx.rest("sessions", "read", id=eid, no_cache=True)
        return os.getpid(), record["subject"]

    ask()
    session = one._client._connection._sender._session
    pid, subject = in_a_fork(ask)
    assert (pid != os.getpid(), subject) == (True, "mouse")
    assert in_a_fork(lambda: one._client._connection._sender._session is session) is False
    assert ask() == (os.getpid(), "mouse")


# -- forks while another thread is inside a call -----------------------------------------------------------------


@contextmanager
def another_thread_in(block: Any) -> Iterator[None]:
    """A block in which another thread is within `block`, such as a lock that it holds."""
    is_in, may_go = threading.Event(), threading.Event()

    def stay() -> None:
        with block:
            is_in.set()
            may_go.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    is_in.wait()
    try:
        yield
    finally:
        may_go.set()
        thread.join()


def all_calls(one: OneAlyx, eid: str) -> tuple[int, str, list[str], int, int]:
    """What many kinds of calls answer."""
    return (
        len(one.load_dataset(eid, "spikes.times")),
        one.alyx.rest("sessions", "read", id=eid, no_cache=True)["subject"],
        one.list_datasets(eid, query_type="remote"),
        len(one.search(query_type="remote", subject="mouse")),
        len(one._cache["datasets"]),
    )


def is_of_onefs(each: Any) -> bool:
    """Whether an object is of a class of onefs, the demo's left out."""
    module = str(getattr(type(each), "__module__", ""))
    return module.startswith("onefs.") and not module.startswith("onefs.demo.")


def referents(each: Any) -> list[Any]:
    """What an object refers to, but for classes and modules; of a function that is what it took from around it."""
    if isinstance(each, FunctionType):
        return [cell.cell_contents for cell in each.__closure__ or ()]
    return [value for value in gc.get_referents(each) if not isinstance(value, (type, ModuleType))]


def objects_of(one: OneAlyx) -> list[Any]:
    """The objects of onefs that calls of `one` may use: those that it leads to, and those of modules and classes."""
    modules = [module for name, module in [*sys.modules.items()] if name.startswith("onefs.")]
    held = [value for module in modules for value in vars(module).values()]
    held += [value for each in held if isinstance(each, type) for value in vars(each).values()]
    left = [one, *filter(is_of_onefs, held)]
    found: dict[int, Any] = {}
    while left:
        each = left.pop()
        if id(each) not in found:
            found[id(each)] = each
            left += referents(each)
    return [each for each in found.values() if is_of_onefs(each)]


def locks_of_calls(one: OneAlyx) -> list[Any]:
    """The locks that a thread may hold at a fork while it calls `one`, but for those that a fork waits for.

    Those of objects that other tests left behind may be wanted by what ends them.
    """
    found = {}
    for each in objects_of(one):
        names = [*getattr(each, "__dict__", {}), *getattr(type(each), "__slots__", ())]
        for value in [getattr(each, name, None) for name in names]:
            lock = getattr(value, "_cond", value)  # of an event
            if isinstance(lock, LOCKS) and lock not in forks._waited_for:
                found[id(getattr(lock, "_lock", lock))] = lock
    return [*found.values(), recording._making]


def test_a_fork_while_another_thread_is_inside_every_lock(archive: AlyxArchive, one: OneAlyx) -> None:
    eid = str(archive.sessions[SESSION].eid)
    one.record_loaded = True
    expected = all_calls(one, eid)
    held = locks_of_calls(one)
    assert one._client._connection._login_lock in held
    with ExitStack() as stack:
        for lock in held:
            stack.enter_context(another_thread_in(lock))
        assert in_a_fork(lambda: all_calls(one, eid)) == expected
    assert all_calls(one, eid) == expected


def test_a_fork_while_another_thread_opens_its_archive(archive: AlyxArchive, one: OneAlyx) -> None:
    eid = str(archive.sessions[SESSION].eid)
    with another_thread_in(one._opening):
        assert in_a_fork(lambda: len(one.load_dataset(eid, "spikes.times"))) == 10


def test_a_fork_while_another_thread_waits_for_the_server(
    archive: AlyxArchive, server: DemoServer, one: OneAlyx
) -> None:
    """It asks in a real call, which the test lets go on once the child has ended."""
    eid = str(archive.sessions[SESSION].eid)
    is_in, may_go = threading.Event(), threading.Event()
    request = one._client._connection._sender.answer
    first = [True]

    @contextmanager
    def slow(question: Any) -> Iterator[Any]:
        if first.pop() if first else False:
            is_in.set()
            may_go.wait()
        with request(question) as response:
            yield response

    one._client._connection._sender.answer = slow  # type: ignore[method-assign]
    thread = threading.Thread(target=one.list_datasets, args=(eid,), kwargs={"query_type": "remote"})
    thread.start()
    is_in.wait()
    try:
        assert in_a_fork(lambda: len(one.list_datasets(eid, query_type="remote"))) == len(NAMES)
    finally:
        may_go.set()
        thread.join()


@contextmanager
def fork_waits_for(lock: Any, begin: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """A block in which another thread is between `begin` and `end`, with a lock, until a fork waits for the lock."""
    is_in, waits = threading.Event(), threading.Event()

    class Observed:
        """The lock, telling when the fork waits for it."""

        def acquire(self, timeout: float) -> bool:
            waits.set()
            return lock.acquire(timeout=timeout)  # type: ignore[no-any-return]

        def release(self) -> None:
            lock.release()

    observed = Observed()
    del forks._waited_for[lock]
    forks._waited_for[observed] = None

    def stay() -> None:
        with lock:
            begin()
            is_in.set()
            waits.wait()
            end()

    thread = threading.Thread(target=stay)
    thread.start()
    is_in.wait()
    try:
        yield
    finally:
        waits.set()
        thread.join()
        del forks._waited_for[observed]
        forks._waited_for[lock] = None


def test_a_fork_waits_for_what_libraries_do_with_locks_of_their_own(archive: AlyxArchive, one: OneAlyx) -> None:
    """The other thread is in SQLite; it ends while the fork waits, and the child can use SQLite."""
    eid = str(archive.sessions[SESSION].eid)
    lock = one._client._responses._lock
    with fork_waits_for(lock, begin=lambda: None, end=lambda: None):
        assert in_a_fork(lambda: one.alyx.rest("sessions", "read", id=eid)["subject"]) == "mouse"
    assert not lock.locked()


def test_a_fork_waits_for_frames_that_are_being_merged(archive: AlyxArchive, one: OneAlyx) -> None:
    """Half merged frames would stay so in the child, where any thread can merge."""
    cache = one._cache
    whole = cache["datasets"]

    def merges_in_a_thread() -> tuple[int, bool]:
        free: list[bool] = []
        thread = threading.Thread(target=lambda: free.append(cache._lock.acquire(timeout=HANGS_S)))
        thread.start()
        thread.join()
        return len(cache["datasets"]), free[0]

    with fork_waits_for(
        cache._lock,
        begin=lambda: cache.update(datasets=whole.iloc[:0]),
        end=lambda: cache.update(datasets=whole),
    ):
        assert in_a_fork(merges_in_a_thread) == (len(NAMES), True)
    assert cache._lock.acquire(blocking=False)
    cache._lock.release()


def test_locks_can_be_made_while_a_fork_waits_for_the_others() -> None:
    """Another thread makes one at every step of the fork's."""
    made = []

    def make_one(*event: Any) -> Any:
        made.append(forks.new_lock(held_at_forks=True))
        return make_one

    before = sys.gettrace()
    sys.settrace(make_one)
    try:
        forks._wait()
    finally:
        sys.settrace(before)
        forks._go_on()
    assert len(made) > 1
    assert not any(lock.locked() for lock in made)


def test_an_interrupt_while_a_fork_waits_leaves_no_lock_held() -> None:
    class Interrupted:
        """A lock that another thread holds, until the user presses Ctrl-C."""

        def acquire(self, timeout: float) -> bool:
            raise KeyboardInterrupt

    first, second = forks.new_lock(held_at_forks=True), Interrupted()
    forks._waited_for[second] = None
    with pytest.raises(KeyboardInterrupt):
        forks._wait()
    forks._go_on()
    assert not first.locked()
    del forks._waited_for[second]


def test_a_fork_waits_for_every_package_that_is_imported_in_a_function() -> None:
    """A fork waits for no other ones, as it might wait for its own program."""
    late = set()
    for file in Path(onefs.__file__).parent.rglob("*.py"):
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.FunctionDef):
                for each in ast.walk(function):
                    if isinstance(each, ast.Import):
                        late |= {alias.name for alias in each.names}
                    elif isinstance(each, ast.ImportFrom):
                        late.add(str(each.module))
    assert {name.partition(".")[0] for name in late} <= forks.IMPORTED_LATE


def test_a_fork_waits_for_modules_that_are_being_imported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that only a thread of the parent would finish could never be imported in the child."""
    (home / "slow_module.py").write_text(
        "import threading\nthreads = threading\nis_in, may_go = threads.Event(), threads.Event()\n"
        "import sys\nsys.is_importing.set()\nsys.may_go_on.wait()\nvalue = 1\n"
    )
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.setattr(forks, "IMPORTED_LATE", {"slow_module"})
    monkeypatch.setattr(sys, "is_importing", threading.Event(), raising=False)
    monkeypatch.setattr(sys, "may_go_on", threading.Event(), raising=False)
    wait = forks._imported

    def imported(name: str) -> None:
        sys.may_go_on.set()  # type: ignore[attr-defined]
        wait(name)

    monkeypatch.setattr(forks, "_imported", imported)
    thread = threading.Thread(target=lambda: __import__("slow_module"))
    thread.start()
    sys.is_importing.wait()  # type: ignore[attr-defined]
    try:
        assert in_a_fork(lambda: __import__("slow_module").value) == 1
    finally:
        sys.may_go_on.set()  # type: ignore[attr-defined]
        thread.join()
        sys.modules.pop("slow_module")
