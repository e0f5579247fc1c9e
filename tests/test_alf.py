"""The path grammar: what is an ALF name, what its parts are, and which paths may be trusted."""

import string
from datetime import date
from pathlib import PurePosixPath
from uuid import UUID

import pytest
from archives import recorded_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from one.alf import spec
from one.alf.path import add_uuid_string, filename_parts, remove_uuid_string

from onefs import alf
from onefs.alf import FileName, RelativePath

ID = UUID("226ba79d-2a3a-4b50-9acc-ebeebe6da35d")
quick = settings(deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("spikes.times.npy", FileName("", "spikes", "times", "", "", "npy")),
        ("_ibl_trials.goCue_times.npy", FileName("ibl", "trials", "goCue_times", "", "", "npy")),
        ("_ibl_trials.goCue_times_bpod.csv", FileName("ibl", "trials", "goCue_times", "bpod", "", "csv")),
        ("spikes.times_ephysClock.npy", FileName("", "spikes", "times", "ephysClock", "", "npy")),
        ("obj.attr_timesheet.npy", FileName("", "obj", "attr", "timesheet", "", "npy")),
        ("obj.on_intervals_a_b.c.d-e.f.npy", FileName("", "obj", "on_intervals", "a_b", "c.d-e.f", "npy")),
        (
            "_spikeglx_ephysData_g0_t0.imec0.ap.cbin",
            FileName("spikeglx", "ephysData_g0_t0", "imec0", "", "ap", "cbin"),
        ),
        (f"spikes.times.{ID}.npy", FileName("", "spikes", "times", "", str(ID), "npy")),
        ("_obj.attr.npy", FileName("", "_obj", "attr", "", "", "npy")),
    ],
)
def test_names_and_their_parts(name: str, parts: FileName) -> None:
    assert alf.parse_file_name(name) == parts


@pytest.mark.parametrize(
    "name",
    [
        "spike_train.npy",
        "a.b",
        "",
        ".",
        "..",
        ".DS_Store",
        ".a.b.npy",
        "a b.c.npy",
        "a.b c.npy",
        "a.b. .npy",
        "a.b.npy ",
        "a.b.npy\n",
        "a.b/c.npy",
        "a.b..npy",
        "a.b...npy",
        "a.b.c..d.npy",
        "a..npy",
        "a.b.",
        "channels._phy_ids.csv",
        "#a#.b.npy",
    ],
)
def test_names_that_are_not_alf(name: str) -> None:
    assert alf.parse_file_name(name) is None


WORD = string.ascii_letters + string.digits + "_"
word = st.text(WORD, min_size=1, max_size=8)
plain = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
# ONE takes what follows a first underscore for a namespace even if no second one does; see below.
an_object = word.filter(lambda text: not text.startswith("_"))
an_extra = st.lists(st.text(WORD + "-", min_size=1, max_size=5), max_size=3).map(".".join)


@given(
    st.just("") | plain, an_object, plain, st.sampled_from(["", "_times", "_intervals"]), st.just("") | word, an_extra
)
@quick
def test_built_names_parse_as_one_parses_them(
    namespace: str, obj: str, attribute: str, event: str, timescale: str, extra: str
) -> None:
    name = f"_{namespace}_" * bool(namespace) + f"{obj}.{attribute}{event}" + f"_{timescale}" * bool(timescale)
    name += f".{extra}" * bool(extra) + ".npy"
    ours = alf.parse_file_name(name)
    assert ours is not None
    assert (ours.namespace, ours.object, ours.extra, ours.extension) == (namespace, obj, extra, "npy")
    theirs = tuple(part or "" for part in filename_parts(name))
    assert (ours.namespace, ours.object, ours.attribute, ours.timescale, ours.extra, ours.extension) == theirs


@given(st.text(WORD + ".-# ", max_size=20))
@quick
def test_what_parses_one_takes_for_valid_too(name: str) -> None:
    if alf.parse_file_name(name):
        assert spec.is_valid(name)


@pytest.mark.parametrize("name", ["channels._phy_ids.csv", "a.b.npy\n", "a.b...npy"])
def test_where_one_is_more_lenient_than_the_grammar(name: str) -> None:
    """Attributes are letters and digits; a line end and empty dotted parts are no parts of a name."""
    assert spec.is_valid(name)
    assert alf.parse_file_name(name) is None


def test_where_one_splits_an_object() -> None:
    """A namespace stands between two underscores. With one of them, ONE makes up a namespace."""
    assert filename_parts("_obj.attr.npy")[:2] == ("ob", "j")
    parsed = alf.parse_file_name("_obj.attr.npy")
    assert parsed is not None
    assert (parsed.namespace, parsed.object) == ("", "_obj")


def test_the_recorded_names_are_alf() -> None:
    for row in recorded_rows():
        name = PurePosixPath(row.path).name
        assert (alf.parse_file_name(name) is not None) == spec.is_valid(name), name


@pytest.mark.parametrize(
    ("rel_path", "parts"),
    [
        ("a.b.npy", RelativePath("", "", "a.b.npy")),
        ("alf/a.b.npy", RelativePath("alf", "", "a.b.npy")),
        ("alf/probe00/a.b.npy", RelativePath("alf/probe00", "", "a.b.npy")),
        ("alf/#2024-05-06#/a.b.npy", RelativePath("alf", "2024-05-06", "a.b.npy")),
        ("#r1#/a.b.npy", RelativePath("", "r1", "a.b.npy")),
        ("alf/#r#/probe00/a.b.npy", RelativePath("alf/#r#/probe00", "", "a.b.npy")),
        ("alf/##/a.b.npy", RelativePath("alf/##", "", "a.b.npy")),
        ("alf/#a b#/a.b.npy", RelativePath("alf/#a b#", "", "a.b.npy")),
        ("alf/#r/a.b.npy", RelativePath("alf/#r", "", "a.b.npy")),
    ],
)
def test_collection_revision_and_name(rel_path: str, parts: RelativePath) -> None:
    assert alf.split_relative(rel_path) == parts


def test_dates_of_revisions() -> None:
    assert alf.revision_date("2024-05-06") == date(2024, 5, 6)
    assert alf.revision_date("2024-05-06a") == date(2024, 5, 6)
    for revision in ("", "r1", "2024-05", "2024-13-01", "test"):
        assert alf.revision_date(revision) is None


def test_session_paths_have_a_number_of_three_digits() -> None:
    assert alf.session_path("lab", "KS-0.14_b", date(2020, 7, 1), 1) == "lab/Subjects/KS-0.14_b/2020-07-01/001"
    assert alf.session_path("", "KS014", date(2020, 7, 1), 65535) == "KS014/2020-07-01/65535"


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        ("lab/Subjects/KS014/2020-07-01/001", True),
        ("KS014/2020-07-01/1", True),
        ("lab_1/Subjects/a.b-c/2020-07-01/12", True),
        ("lab/KS014/2020-07-01/001", False),
        ("KS014/2020-7-1/001", False),
        ("KS014/2020-07-01/0001", False),
        ("KS 014/2020-07-01/001", False),
    ],
)
def test_session_folders(path: str, fits: bool) -> None:
    assert bool(alf.SESSION.fullmatch(path)) == fits


@pytest.mark.parametrize(
    ("path", "archived"),
    [
        ("alf/a.b.npy", f"alf/a.b.{ID}.npy"),
        ("alf/#r#/a.b.c.tar.gz", f"alf/#r#/a.b.c.tar.{ID}.gz"),
        ("alf/README", f"alf/README.{ID}"),
        ("a.b/README", f"a.b/README.{ID}"),
    ],
)
def test_archive_names(path: str, archived: str) -> None:
    assert alf.archive_path(path, ID) == archived


@given(plain, plain, st.lists(plain, min_size=2, max_size=4), st.uuids(version=4))
@quick
def test_archive_names_there_and_back_as_one_does(folder: str, obj: str, rest: list[str], dataset_id: UUID) -> None:
    name = ".".join([obj, *rest])
    archived = alf.archive_path(f"{folder}/{name}", dataset_id)
    assert archived == add_uuid_string(f"{folder}/{name}", dataset_id).as_posix()
    assert alf.without_uuid(archived.rpartition("/")[2]) == name
    assert remove_uuid_string(archived).as_posix() == f"{folder}/{name}"


@pytest.mark.parametrize("name", ["a.b.npy", "README", f"{ID}", f"{ID}.npy", f"a.{ID}", f"a.{ID}.b.npy", ""])
def test_a_name_without_a_uuid_before_its_extension_stays(name: str) -> None:
    assert alf.without_uuid(name) == name


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "/", "/etc/passwd", "a/../b", "../a", "a/..", "a//b", "a/./b", "a/", "a\0b", "n" * 256, "ä" * 128],
)
def test_unsafe_paths(path: str) -> None:
    assert not alf.is_safe_relative(path)
    assert not alf.is_safe_part(path)


@pytest.mark.parametrize(
    "path", ["a", "...", ".a", "a b", "a\nb", "a\\b", "n" * 255, "ä" * 127, "~", "-rf", "a:b", "é\u0301"]
)
def test_safe_if_strange_paths(path: str) -> None:
    assert alf.is_safe_part(path)
    assert alf.is_safe_relative(f"{path}/{path}")


@pytest.mark.parametrize(
    ("path", "is_safe"),
    [
        ("a/" * 63 + "b", True),
        ("a/" * 64 + "b", False),
        ("a/" * 1500 + "b", False),
        ("/".join(["n" * 255] * 8), True),
        ("/".join(["n" * 255] * 8) + "/b", False),
        ("/".join(["ä" * 127] * 8) + "/bbbbbbbb", True),
        ("/".join(["ä" * 127] * 8) + "/bbbbbbbbb", False),
    ],
)
def test_a_path_has_so_many_parts_and_bytes_at_most(path: str, is_safe: bool) -> None:
    assert alf.is_safe_relative(path) == is_safe


@given(st.text(alphabet="a./\0é", max_size=12))
@quick
def test_a_safe_path_never_leaves_its_folder(path: str) -> None:
    if alf.is_safe_relative(path):
        joined = PurePosixPath("/cache", path)
        assert ".." not in joined.parts
        assert joined.is_relative_to("/cache")
        assert str(joined) == f"/cache/{path}"
