"""Jobs come to an end whatever happens, and when those who asked for them say so."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import UUID

import pytest
from waiting import PATIENCE_S, wait_until

from onefs.catalogue.records import QC, Dataset
from onefs.daemon.job import MOST_WITHOUT_ROOM, Job, Stage
from onefs.daemon.jobs import Jobs
from onefs.daemon.work import Done, Work
from onefs.errors import ContentError, NoRoomError, OfflineError, UsageError

SESSION = "lab/Subjects/mouse/2024-01-02/001"


def datasets(count: int) -> list[Dataset]:
    return [
        Dataset(UUID(int=number), None, SESSION, f"alf/a{number}.npy", number, "", True, QC.PASS, True)
        for number in range(count)
    ]


def work_on(found: Callable[[], Iterator[Dataset]], act: Callable[[Dataset], Done]) -> Work:
    return Work("fetch", ["lab"], found, act, lambda dataset: (dataset.size_bytes or 0, 0), at_once=4)


def fetched(dataset: Dataset) -> Done:
    return Done("fetched", dataset.size_bytes or 0, dataset.size_bytes or 0)


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    jobs = Jobs()
    yield jobs
    jobs.close()


def ended(job: Job) -> Job:
    assert job.wait(PATIENCE_S)
    return job


class UnforeseenError(Exception):
    """What no code of ours raises."""


@pytest.mark.parametrize("time", [0, 1])
def test_a_fault_while_the_files_are_looked_for_ends_the_job(jobs: Jobs, time: int) -> None:
    """While they are counted, and while they are worked on."""
    times = iter(range(10))

    def found() -> Iterator[Dataset]:
        is_faulty = next(times) == time
        yield from datasets(3)
        if is_faulty:
            raise UnforeseenError

    job = ended(jobs.start(work_on(found, fetched)))
    assert job.stage is Stage.FAILED
    assert "a fault in onefs" in job.sentence


def test_a_fault_with_one_file_is_that_files_failure(jobs: Jobs) -> None:
    def act(dataset: Dataset) -> Done:
        if dataset.size_bytes == 2:
            raise UnforeseenError
        return fetched(dataset)

    job = ended(jobs.start(work_on(lambda: iter(datasets(20)), act)))
    assert (job.stage, job.facts()["files"]) == (Stage.DONE, {"fetched": 19, "failed": 1})
    assert [failure.path for failure in job.failures] == [f"{SESSION}/alf/a2.npy"]


def test_small_files_still_come_where_large_ones_find_no_room(jobs: Jobs) -> None:
    def act(dataset: Dataset) -> Done:
        if dataset.size_bytes and dataset.size_bytes % 5 == 0:
            raise NoRoomError(f"{dataset.path} finds no room.")
        return fetched(dataset)

    count = 10 * MOST_WITHOUT_ROOM
    job = ended(jobs.start(work_on(lambda: iter(datasets(count)), act)))
    assert (job.stage, job.facts()["files"]) == (Stage.DONE, {"fetched": count * 4 // 5 + 1, "failed": count // 5 - 1})


@pytest.mark.parametrize(("error", "most"), [(NoRoomError("full"), MOST_WITHOUT_ROOM + 4), (OfflineError("off"), 4)])
def test_what_would_befall_every_other_file_ends_the_job(jobs: Jobs, error: ContentError, most: int) -> None:
    def act(dataset: Dataset) -> Done:
        raise type(error)(dataset.path)

    job = ended(jobs.start(work_on(lambda: iter(datasets(1000)), act)))
    assert job.stage is Stage.FAILED
    assert type(job.error) is type(error)
    assert 0 < job.facts()["done_files"] <= most


def test_the_same_again_is_joined_and_ends_with_the_last_who_wants_it(jobs: Jobs) -> None:
    goes_on = threading.Event()

    def act(dataset: Dataset) -> Done:
        assert goes_on.wait(PATIENCE_S)
        return fetched(dataset)

    work = work_on(lambda: iter(datasets(20)), act)
    first, other = jobs.start(work), jobs.start(replace(work, paths=["elsewhere"]))
    assert jobs.start(work) is first
    assert other is not first
    jobs.leave(first.number)
    assert first.facts()["ended"] is None
    jobs.leave(first.number)
    assert first.facts()["stage"] == "stopped"
    with pytest.raises(UsageError):
        jobs.leave(first.number)
    second = jobs.start(work)  # what has ended is begun anew
    assert second is not first
    jobs.start(work)
    jobs.stop(second.number)  # whoever else wants it
    assert second.stage is Stage.STOPPED
    goes_on.set()
    assert ended(other).stage is Stage.DONE


def test_no_local_work_waits_behind_a_server(jobs: Jobs) -> None:
    goes_on = threading.Event()

    def act(dataset: Dataset) -> Done:
        assert goes_on.wait(PATIENCE_S)
        return fetched(dataset)

    stalled = jobs.start(replace(work_on(lambda: iter(datasets(200)), act), at_once=200))
    local = replace(work_on(lambda: iter(datasets(3)), fetched), verb="evict", is_local=True)
    assert ended(jobs.start(local)).stage is Stage.DONE
    assert stalled.facts()["ended"] is None
    goes_on.set()
    assert ended(stalled).stage is Stage.DONE


def test_what_has_just_ended_is_begun_anew(jobs: Jobs) -> None:
    later: list[Job] = []

    def stop() -> None:
        """What comes last in the end of a job, after its facts have told that."""
        if not later:
            assert first.facts()["ended"]
            later.append(jobs.start(work))

    goes_on = threading.Event()

    def act(dataset: Dataset) -> Done:
        assert goes_on.wait(PATIENCE_S)
        return fetched(dataset)

    work = replace(work_on(lambda: iter(datasets(3)), act), stop=stop)
    first = jobs.start(work)
    goes_on.set()
    ended(first)
    assert later[0] is not first
    assert ended(later[0]).facts()["done_files"] == 3


def test_all_end_with_the_mount(jobs: Jobs) -> None:
    goes_on = threading.Event()

    def act(dataset: Dataset) -> Done:
        assert goes_on.wait(PATIENCE_S)
        return fetched(dataset)

    job = jobs.start(work_on(lambda: iter(datasets(20)), act))
    wait_until(lambda: job.facts()["total_files"] == 20)
    jobs.close()
    assert job.stage is Stage.STOPPED
    assert job.sentence == "fetch lab: ended early, after 0 of 20 files."
    assert ended(jobs.start(work_on(lambda: iter(datasets(2)), act))).stage is Stage.STOPPED
    goes_on.set()
