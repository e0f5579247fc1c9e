"""Manifests: written and read back, and what is said of one that is wrong."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefs.errors import UsageError
from onefs.recording.manifest import Entry, manifest_text, parse, read_manifest

ENTRY = Entry(
    id=UUID("00c234a3-a4ff-4f97-a522-939d15528a45"),
    eid=UUID("d6ee68d4-ee19-4c5e-8595-633efeb735ed"),
    path="cortexlab/Subjects/KS014/2020-07-01/001/alf/#2024-05-06#/spikes.times.npy",
    revision="2024-05-06",
    default=True,
    hash="d41d8cd98f00b204e9800998ecf8427e",
    size=0,
    first_read=datetime(2026, 11, 20, 16, tzinfo=UTC),
    pid=4711,
    program="python3.11 analysis.py",
    user="mouse",
    label="fig 2",
    source="https://alyx.example.org",
)
FIELDS = json.loads(ENTRY.line())
HERE = Path("manifest.jsonl")


def test_the_fields_stand_in_their_order() -> None:
    assert ENTRY.line() == (
        '{"id": "00c234a3-a4ff-4f97-a522-939d15528a45", "eid": "d6ee68d4-ee19-4c5e-8595-633efeb735ed", '
        '"path": "cortexlab/Subjects/KS014/2020-07-01/001/alf/#2024-05-06#/spikes.times.npy", '
        '"revision": "2024-05-06", "default": true, "hash": "d41d8cd98f00b204e9800998ecf8427e", "size": 0, '
        '"first_read": "2026-11-20T16:00:00.000Z", "pid": 4711, "program": "python3.11 analysis.py", '
        '"user": "mouse", "label": "fig 2", "source": "https://alyx.example.org"}\n'
    )


TEXTS = st.text() | st.just("name\udcff")


@given(
    st.builds(
        Entry,
        id=st.uuids(),
        eid=st.none() | st.uuids(),
        path=st.just(ENTRY.path) | st.just("a/ä\udcff\u2028b.x.npy"),
        revision=TEXTS,
        default=st.none() | st.booleans(),
        hash=st.just("") | st.just(ENTRY.hash),
        size=st.none() | st.integers(0),
        first_read=st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(microsecond=1000)),
        pid=st.integers(0),
        program=TEXTS,
        user=TEXTS,
        label=TEXTS,
        source=TEXTS,
    )
)
def test_whatever_is_written_is_read_back(entry: Entry) -> None:
    line = entry.line()
    assert line.count("\n") == 1
    assert parse(line, HERE, 1) == entry


def test_a_file_is_read_with_blank_lines_and_unknown_fields(tmp_path: Path) -> None:
    file = tmp_path / "manifest.jsonl"
    file.write_text(manifest_text([ENTRY]) + "\n" + json.dumps({**FIELDS, "more": []}) + "\r\n")
    assert list(read_manifest(file).values()) == [ENTRY, ENTRY]


def test_another_zone_is_the_same_moment() -> None:
    entry = parse(json.dumps({**FIELDS, "first_read": "2026-11-20T17:00:00+01:00"}), HERE, 1)
    assert entry.first_read == ENTRY.first_read
    assert entry.first_read.utcoffset() == timedelta(0)


def test_a_manifest_of_before_does_not_tell_of_defaults() -> None:
    assert parse(json.dumps({name: value for name, value in FIELDS.items() if name != "default"}), HERE, 1) == replace(
        ENTRY, default=None
    )


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - {"default"}))
def test_a_missing_field_is_named_with_its_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / "manifest.jsonl"
    rest = {key: value for key, value in FIELDS.items() if key != name}
    file.write_text(ENTRY.line() + json.dumps(rest))
    with pytest.raises(UsageError, match=re.escape(f"{file}, line 2 has no field {name}.")):
        read_manifest(file)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "x"),
        ("id", None),
        ("eid", 3),
        ("path", "/etc/passwd"),
        ("path", "a/../b"),
        ("path", ""),
        ("path", ".onefs/stamps/x"),
        ("path", "lab/.onefs/x"),
        ("path", "lab/a\nb"),
        ("path", "a\0b"),
        ("revision", None),
        ("default", "yes"),
        ("default", 1),
        ("hash", "abc"),
        ("hash", None),
        ("size", "12"),
        ("size", -1),
        ("size", True),
        ("size", 1.5),
        ("first_read", "yesterday"),
        ("first_read", 0),
        ("pid", None),
        ("program", ["python"]),
        ("user", 0),
        ("label", None),
        ("source", {}),
    ],
)
def test_a_wrong_field_is_named_with_its_line(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=re.escape(f"manifest.jsonl, line 7: {name} is ")) as failure:
        parse(json.dumps({**FIELDS, name: value}), HERE, 7)
    assert failure.value.remedy


@pytest.mark.parametrize("line", ["id,eid", "[]", "3", b"\xff\xfe{", "[" * 100_000, '{"id": "'])
def test_what_is_no_entry_is_told(line: str | bytes) -> None:
    with pytest.raises(UsageError, match=r"manifest\.jsonl, line 1 is no "):
        parse(line, HERE, 1)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_manifest(place)
