"""How much of each lab is in the cache: counted once, and kept up with what comes and goes."""

from uuid import uuid4

import pytest

from onefs.cache.labs import Labs, lab_of
from onefs.catalogue.records import QC, Dataset


def dataset(session_path: str) -> Dataset:
    return Dataset(uuid4(), uuid4(), session_path, "alf/x.y.npy", None, "", True, QC.NOT_SET, None)


A = dataset("alab/Subjects/a/2024-01-01/001")
B = dataset("blab/Subjects/b/2024-01-01/001")


def told(labs: Labs) -> dict[str, tuple[int, int]] | None:
    found = labs.largest_first()
    return None if found is None else {lab: (usage.size_bytes, usage.files) for lab, usage in found}


@pytest.mark.parametrize(("path", "lab"), [(A.path, "alab"), ("mouse/2024-01-01/001/x.npy", ""), ("x", ""), ("", "")])
def test_the_lab_of_a_path(path: str, lab: str) -> None:
    assert lab_of(path) == lab


def test_nothing_is_told_before_the_first_count() -> None:
    labs = Labs()
    labs.added(A, 5)
    assert told(labs) is None
    labs.end_count(labs.begin_count())
    assert told(labs) == {}


def test_what_comes_and_goes_after_a_count() -> None:
    labs = Labs()
    count = labs.begin_count()
    count.add(A, 5)
    labs.end_count(count)
    labs.added(B, 7)
    labs.added(B, 7)
    assert told(labs) == {"blab": (14, 2), "alab": (5, 1)}
    labs.removed(A, 5)
    assert told(labs) == {"blab": (14, 2)}


def test_what_comes_during_a_count_is_counted_once() -> None:
    labs = Labs()
    count = labs.begin_count()
    labs.added(A, 5)
    labs.added(B, 7)
    count.add(A, 5)
    labs.removed(B, 7)
    labs.end_count(count)
    assert told(labs) == {"alab": (5, 1)}
