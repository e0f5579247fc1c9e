"""What a manifest asks for: each dataset once, and one sentence about one that cannot be meant."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid5

import pytest
from archives import make_tables
from recordings_of import entry_of, write_manifest

from onefs.catalogue.records import QC, Dataset
from onefs.catalogue.snapshot import load_snapshot
from onefs.daemon.recorded import described, read_recorded
from onefs.errors import UsageError

FILES = {"alf/a.times.npy": b"a", "alf/#2024-01-01#/a.times.npy": b"b", "alf/#2025-01-01#/a.times.npy": b"c"}
ARCHIVE = "https://alyx.example.org"


@pytest.fixture
def datasets(tmp_path: Path) -> dict[str, Dataset]:
    return make_tables(tmp_path / "tables", FILES)


def test_each_dataset_once_whoever_read_it(datasets: dict[str, Dataset], tmp_path: Path) -> None:
    first, second, _ = (entry_of(dataset, ARCHIVE) for dataset in datasets.values())
    again = replace(first, pid=7, program="another", label="fig 3", hash="", size=None)
    recorded = read_recorded(write_manifest(tmp_path / "m.jsonl", [again, second, first, first]))
    assert [dataset.path for dataset in recorded.datasets] == [first.path, second.path]
    assert recorded.datasets[0].md5 == first.hash, "the line that tells most of the bytes counts"
    assert recorded.source == ARCHIVE
    assert [(session.eid, session.path) for session in recorded.sessions] == [
        (first.eid, datasets["alf/a.times.npy"].session_path)
    ]
    more = read_recorded(write_manifest(tmp_path / "more.jsonl", [first, second]))
    assert more.digest == recorded.digest
    others = {"less": [first], "moved": [replace(each, eid=uuid5(first.id, "")) for each in (first, second)]}
    for name, entries in others.items():
        digest = read_recorded(write_manifest(tmp_path / f"{name}.jsonl", entries)).digest
        assert digest != recorded.digest, "tables that were made for one are not those of the other"


def test_a_session_that_no_table_lists_is_known_by_its_path(datasets: dict[str, Dataset], tmp_path: Path) -> None:
    dataset = datasets["alf/a.times.npy"]
    paths = ["lab/Subjects/a mouse/2024-01-02/012/alf/x.y.npy", "mouse/2024-01-03/001/x.y.npy"]
    entries = [
        entry_of(dataset, ARCHIVE, id=uuid5(dataset.id, path), eid=uuid5(dataset.id, f"{path}!"), path=path)
        for path in paths
    ]
    aggregate = entry_of(
        dataset, ARCHIVE, id=uuid5(dataset.id, "all"), eid=None, path="aggregates/Subjects/all.table.pqt"
    )
    recorded = read_recorded(write_manifest(tmp_path / "m.jsonl", [*entries, aggregate]))
    sessions, found = described(recorded, None)
    assert [(each.lab, each.subject, str(each.date), each.number) for each in sessions] == [
        ("lab", "a mouse", "2024-01-02", 12),
        ("", "mouse", "2024-01-03", 1),
    ]
    assert [each.path for each in found] == [*paths, aggregate.path]


def test_the_default_is_the_one_that_was_it_when_it_was_read_else_the_greatest(tmp_path: Path) -> None:
    plain, older, newer = FILES
    made = make_tables(tmp_path / "tables", FILES, qc=QC.WARNING)  # the archive has moved on: all are marked
    tables = load_snapshot(tmp_path / "tables", tmp_path)

    def default(**were: bool | None) -> str:
        """Of what was read with these marks."""
        names = {"plain": plain, "older": older, "newer": newer}
        entries = [entry_of(made[names[name]], ARCHIVE, default=was) for name, was in were.items()]
        again = [replace(entry, label="fig 2", default=False) for entry in entries]
        recorded = read_recorded(write_manifest(tmp_path / "m.jsonl", [*entries, *again]))
        sessions, found = described(recorded, tables)
        assert [session.projects for session in sessions] == ["project"]
        assert {(dataset.exists, dataset.qc) for dataset in found} == {(True, QC.WARNING)}
        [path] = [dataset.rel_path for dataset in found if dataset.default_revision]
        assert [dataset.rel_path for dataset in found if dataset.default_revision is False] == [
            names[name] for name in were if names[name] != path
        ]
        return path

    assert default(plain=True, older=False, newer=False) == plain
    assert default(newer=False, older=True) == older
    assert default(plain=True, older=True, newer=False) == older
    assert default(plain=False, older=False) == older
    assert default(plain=None, older=None) == older
    assert default(plain=False) == plain


OTHER = "00000000-0000-4000-8000-000000000001"
SESSION = "lab/Subjects/mouse/2024-01-02/001"


def _without(fields: dict[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in fields.items() if key != name}


WRONG: dict[str, tuple[Callable[[dict[str, object]], object], str]] = {
    "a missing field": (lambda fields: _without(fields, "hash"), "line 2 has no field hash"),
    "no id": (lambda fields: {**fields, "id": "cheese"}, 'line 2: id is "cheese"'),
    "a way out": (lambda fields: {**fields, "path": f"{SESSION}/../../x.y.npy"}, "line 2: path"),
    "no session": (lambda fields: {**fields, "path": "lab/Subjects/mouse/x.y.npy"}, "line 2: path"),
    "no such day": (lambda fields: {**fields, "path": "lab/Subjects/mouse/2024-02-30/001/x.y.npy"}, "line 2: path"),
    "another writing": (lambda fields: {**fields, "path": "lab/Subjects/mouse/2024-01-02/1/x.y.npy"}, "line 2: path"),
    "the session itself": (lambda fields: {**fields, "path": SESSION}, "line 2: path"),
    "no aggregate": (lambda fields: {**fields, "eid": None, "path": f"{SESSION}/b.y.npy"}, "folder aggregates"),
    "no text": (lambda fields: {**fields, "path": f"{SESSION}/\udcff.y.npy"}, "line 2: path"),
    "other bytes": (lambda fields: {**fields, "hash": "a" * 32}, f"line 2: hash is {'a' * 32}, and line 1 has"),
    "another size": (lambda fields: {**fields, "size": 5}, "line 2: size is 5, and line 1 has 1"),
    "far too large": (lambda fields: {**fields, "path": f"{SESSION}/b.y.npy", "size": 1 << 70}, "line 2: size"),
    "two sessions of one path": (lambda fields: {**fields, "eid": OTHER, "path": f"{SESSION}/b.y.npy"}, "line 2: eid"),
    "two paths of one session": (
        lambda fields: {**fields, "path": "lab/Subjects/rat/2024-01-02/001/b.y.npy"},
        "line 2: eid",
    ),
    "two paths of one dataset": (
        lambda fields: {**fields, "path": f"{SESSION}/b.y.npy"},
        f"is at {SESSION}/b.y.npy, and line 1 has it at {SESSION}/alf/a.times.npy",
    ),
    "no such revision": (
        lambda fields: {**fields, "id": OTHER, "path": f"{SESSION}/#2024-01-01#/b.y.npy"},
        "line 2: revision is '', but that of",
    ),
    "a revision without its folder": (
        lambda fields: {**fields, "id": OTHER, "path": f"{SESSION}/b.y.npy", "revision": "2024-01-01"},
        f"line 2: revision is '2024-01-01', but {SESSION}/b.y.npy has none",
    ),
    "two sources": (lambda fields: {**fields, "source": "https://other.example.org"}, f"{ARCHIVE}, https://other"),
    "no JSON": (lambda fields: "{", "line 2 is no JSON"),
    "no entry": (lambda fields: "[]", "line 2 is no entry"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_told_with_its_line(datasets: dict[str, Dataset], tmp_path: Path, kind: str) -> None:
    change, said = WRONG[kind]
    good = entry_of(datasets["alf/a.times.npy"], ARCHIVE).line()
    changed = change(json.loads(good))
    file = tmp_path / "m.jsonl"
    file.write_text(good + (changed if isinstance(changed, str) else json.dumps(changed)) + "\n")
    with pytest.raises(UsageError) as refused:
        read_recorded(file)
    assert said in refused.value.reason
    assert str(file) in refused.value.reason
    assert refused.value.remedy


def test_several_sources_are_one_if_the_user_says_so(datasets: dict[str, Dataset], tmp_path: Path) -> None:
    entries = [entry_of(dataset, source) for dataset, source in zip(datasets.values(), "abc", strict=True)]
    assert read_recorded(write_manifest(tmp_path / "m.jsonl", entries), ARCHIVE).source == ARCHIVE


@pytest.mark.parametrize("kind", ["absent", "folder", "empty", "blank", "bytes"])
def test_what_is_no_manifest(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "m.jsonl"
    if kind == "folder":
        file.mkdir()
    elif kind != "absent":
        file.write_bytes({"empty": b"", "blank": b"\n \n", "bytes": bytes(range(256))}[kind])
    with pytest.raises(UsageError, match=r"m\.jsonl") as refused:
        read_recorded(file)
    assert refused.value.remedy
