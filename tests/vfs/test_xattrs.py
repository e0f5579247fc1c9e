"""Extended attributes: which there are, and what the unknown ones answer."""

from dataclasses import replace
from uuid import UUID

import pytest

from onefs.catalogue.records import QC, Dataset
from onefs.errors import ForeignAttributeError, NoAttributeError
from onefs.fetch.access import Inspection, State
from onefs.vfs import xattrs

DATASET = Dataset(
    id=UUID(int=1),
    eid=UUID(int=2),
    session_path="lab/Subjects/mouse/2024-01-02/001",
    rel_path="alf/#2024-05-06#/a.b.npy",
    size_bytes=12,
    md5="0" * 32,
    exists=True,
    qc=QC.WARNING,
    default_revision=True,
)


REMOTE = Inspection(State.REMOTE, "http://host/a", "")


def told(dataset: Dataset, inspection: Inspection = REMOTE) -> dict[str, str]:
    facts = xattrs.FileFacts(dataset, inspection, None, False)
    return {
        name.removeprefix("user.onefs."): xattrs.value(xattrs.FILE_ATTRIBUTES, name, facts)
        for name in xattrs.names(xattrs.FILE_ATTRIBUTES)
    }


def test_of_a_file_of_which_all_is_known() -> None:
    assert told(DATASET, Inspection(State.QUARANTINED, "http://a/b", "Wrong. Ask.", ("http://a/b", "http://c/b"))) == {
        "id": "00000000-0000-0000-0000-000000000001",
        "eid": "00000000-0000-0000-0000-000000000002",
        "hash": "0" * 32,
        "size": "12",
        "qc": "WARNING",
        "revision": "2024-05-06",
        "default_revision": "true",
        "state": "quarantined",
        "source": "http://a/b",
        "urls": "http://a/b\nhttp://c/b",
        "error": "Wrong. Ask.",
        "pinned": "false",
        "cache_path": "",
    }


def test_what_is_not_known_is_empty() -> None:
    known = told(replace(DATASET, eid=None, size_bytes=None, md5="", default_revision=None, rel_path="a.b.npy"))
    assert [known[name] for name in ("eid", "size", "hash", "default_revision", "revision", "urls")] == [""] * 6
    assert told(replace(DATASET, default_revision=False, size_bytes=0))["default_revision"] == "false"
    assert told(replace(DATASET, size_bytes=0))["size"] == "0"


@pytest.mark.parametrize("name", ["security.capability", "system.posix_acl_access", "trusted.a", "onefs.id", ""])
def test_names_outside_user_are_foreign(name: str) -> None:
    with pytest.raises(ForeignAttributeError):
        xattrs.value(
            xattrs.FILE_ATTRIBUTES, name, xattrs.FileFacts(DATASET, Inspection(State.REMOTE, "", ""), None, False)
        )


@pytest.mark.parametrize("name", ["user.", "user.id", "user.onefs.", "user.onefs.nothing", "user.onefs.user.onefs.id"])
def test_names_inside_user_are_absent(name: str) -> None:
    with pytest.raises(NoAttributeError):
        xattrs.value(
            xattrs.FILE_ATTRIBUTES, name, xattrs.FileFacts(DATASET, Inspection(State.REMOTE, "", ""), None, False)
        )
