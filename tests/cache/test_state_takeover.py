"""A cache as onefs kept it before there was a state database: what was verified or pinned there stays so."""

import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

from archive_and_cache import ArchiveAndCache, dataset_of, read
from waiting import wait_until

from onefs.cache.verify import wanted
from onefs.catalogue.records import Dataset
from onefs.fetch.access import State

DATA = os.urandom(5000)


def noted(dataset: Dataset, path: Path, *, source: str = "https://data.example/file") -> dict[str, Any]:
    """A stamp of a file as it was then."""
    status = path.stat()
    return {
        "eid": "" if dataset.eid is None else str(dataset.eid),
        "session": dataset.session_path,
        "path": dataset.rel_path,
        "signature": {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino},
        "md5": dataset.md5,
        "accepted": "",
        "source": source,
    }


def stamp(place: ArchiveAndCache, dataset: Dataset, value: dict[str, Any]) -> None:
    path = place.cache / ".onefs" / "stamps" / str(dataset.id)[:2] / f"{dataset.id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def pin(place: ArchiveAndCache, dataset: Dataset) -> None:
    path = place.cache / ".onefs" / "pins" / str(dataset.id)[:2] / str(dataset.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def old_cache(place: ArchiveAndCache) -> dict[str, Dataset]:
    """What was fetched, put there by another program, changed since, and fetched by a process that was killed."""
    datasets = {name: place.add(DATA, number) for number, name in enumerate(("ours", "theirs", "changed", "killed"), 1)}
    for name, dataset in datasets.items():
        path = place.put_in_cache(dataset, DATA)
        if name != "killed":
            stamp(place, dataset, noted(dataset, path, source="" if name == "theirs" else "https://data.example/file"))
    place.file(datasets["changed"]).write_bytes(DATA[::-1])
    arrivals = place.cache / ".onefs" / "room" / "arrivals" / str(uuid4())
    arrivals.parent.mkdir(parents=True)
    killed = datasets["killed"]
    arrivals.write_text(json.dumps({"id": str(killed.id), **noted(killed, place.file(killed))}) + "\nno JSON\n")
    pin(place, datasets["ours"])
    pin(place, dataset_of(9, DATA))
    for garbage in (b"", b"\0\0", b"[]", b'{"signature": 3}', b'{"signature": {"size_bytes": "x"}}'):
        (place.cache / ".onefs" / "stamps" / str(datasets["ours"].id)[:2] / f"{uuid4()}.json").write_bytes(garbage)
    record = {"wanted": wanted(killed), "reason": "a", "remedy": "b", "times": 1, "until": 0}
    quarantine = place.cache / ".onefs" / "quarantine"
    quarantine.mkdir()
    (quarantine / f"{uuid4()}.json").write_text(json.dumps(record))
    (quarantine / f"{killed.id}.17.npy").write_bytes(b"wrong")
    (quarantine / f"{killed.id}.17.npy.json").write_text("{}")
    return datasets


def test_what_was_verified_or_pinned_stays_so_and_the_old_folders_go(place: ArchiveAndCache) -> None:
    datasets = old_cache(place)
    content = place.content()
    found = {name: content.inspect(dataset).state for name, dataset in datasets.items()}
    right, unsure = State.VERIFIED, State.CACHED
    assert found == {"ours": right, "theirs": right, "changed": unsure, "killed": unsure}
    for dataset in datasets.values():
        assert read(content, dataset) == DATA
    assert place.server.requests() == 1, "only what had changed was fetched"
    old = [place.cache / ".onefs" / name for name in ("stamps", "pins", "room/arrivals")]
    quarantine = place.cache / ".onefs" / "quarantine"

    def left() -> list[Path]:
        records = [path for path in quarantine.glob("*.json") if path.name.count(".") == 1]
        return records + [folder for folder in old if folder.exists()]

    wait_until(lambda: not left(), "what was taken over is gone")
    assert len(list(quarantine.glob("*.17.npy*"))) == 2, "what was moved there stays"
    content.flush()
    content.close()
    again = place.content()
    found = {name: again.inspect(dataset).state for name, dataset in datasets.items()}
    assert set(found.values()) == {right}
    assert again.keeping.pinned() == {str(datasets["ours"].id), str(dataset_of(9, DATA).id)}
    again.keeping.unpin(datasets["ours"])
    for name in ("ours", "killed", "changed"):
        assert again.keeping.evict(datasets[name]) > 0, f"onefs fetched {name}"
    assert place.file(datasets["theirs"]).exists()


def test_pins_count_before_all_is_taken_over(place: ArchiveAndCache) -> None:
    datasets = old_cache(place)
    content = place.content()
    assert content.keeping.is_pinned(datasets["ours"])
    assert not content.keeping.is_pinned(datasets["theirs"])
    content.keeping.unpin(datasets["ours"])
    assert not place.content().keeping.is_pinned(datasets["ours"])


def test_what_would_lead_outside_the_cache_is_not_taken_over(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)
    (place.home / "outside").write_bytes(DATA)
    value = {**noted(dataset, place.home / "outside"), "session": "lab/../..", "path": "outside"}
    stamp(place, dataset, value)
    content = place.content()
    assert read(content, dataset) == DATA
    assert place.server.requests() == 1


def test_what_is_no_text_keeps_nothing_else_from_being_taken_over(place: ArchiveAndCache) -> None:
    odd, dataset = place.add(DATA, 1), place.add(DATA, 2)
    for each in (odd, dataset):
        stamp(place, each, noted(each, place.put_in_cache(each, DATA), source="\ud800" if each is odd else ""))
    content = place.content()
    for each in (odd, dataset):
        assert read(content, each) == DATA
    content.flush()
    content.close()
    assert not (place.cache / ".onefs/stamps").exists()
    assert place.content().inspect(odd).state is State.VERIFIED
