"""Paths that know their ALF parts, beside those of ONE."""

import copy
import pickle
import string
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID

import one.alf.path as theirs
import pytest
from archives import recorded_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from onefs.alf_files import path as ours
from onefs.alf_files.path import ALFPath, PureALFPath, PurePosixALFPath, PureWindowsALFPath
from onefs.one_errors import ALFInvalid

ID = "226ba79d-2a3a-4b50-9acc-ebeebe6da35d"
OTHER_ID = "d26ba79d-2a3a-4b50-9acc-ebeebe6da35d"
SESSION = "/data/cortexlab/Subjects/KS014/2020-07-01/001"
FILE = "_ibl_trials.goCue_times_bpod.raw.v1.npy"
FULL = f"{SESSION}/alf/probe00/#2024-05-06#/{FILE}"
PROPERTIES = [
    "lab", "subject", "date", "sequence", "collection", "revision", "namespace", "object", "attribute", "timescale",
    "extra", "session_parts", "dataset_name_parts", "alf_parts",
]  # fmt: skip
quick = settings(deadline=None, max_examples=100)


def text_of(value: Any) -> Any:
    return value.as_posix() if isinstance(value, PurePath) or hasattr(value, "as_posix") else value


# -- as pathlib's ----------------------------------------------------------------------------------------------------


def test_it_is_a_path_of_pathlib() -> None:
    path = ALFPath(FULL)
    assert isinstance(path, Path)
    assert isinstance(path, PureALFPath)
    assert path == Path(FULL)
    assert {path: 1}[Path(FULL)] == 1  # type: ignore[index]
    assert str(path) == FULL
    assert repr(ALFPath("a")) == "ALFPath('a')"
    derived = [path.parent, path / "x", path.with_name("x"), path.relative_to("/data"), path.absolute(), ALFPath.cwd()]
    assert {type(each) for each in [*derived, *path.parents, copy.copy(path)]} == {ALFPath}
    assert pickle.loads(pickle.dumps(path)) == path


def test_what_can_be_opened(tmp_path: Path) -> None:
    path = ALFPath(tmp_path, "a.b.npy")
    path.write_bytes(b"x")
    assert path.read_bytes() == b"x"
    assert [*ALFPath(tmp_path).glob("*")] == [path]
    assert {type(each) for each in ALFPath(tmp_path).iterdir()} == {ALFPath}


def test_pure_paths() -> None:
    assert type(PureALFPath("a", "b")) is PurePosixALFPath
    assert type(PureALFPath("a") / "b") is PurePosixALFPath
    windows = PureWindowsALFPath(r"C:\data\KS014\2020-07-01\1\alf\a.b.npy")
    assert (windows.subject, windows.sequence, windows.collection, windows.object) == ("KS014", "1", "alf", "a")
    assert windows.with_subject("x") == PureWindowsPath(r"C:\data\x\2020-07-01\1\alf\a.b.npy")
    assert windows.session_path() == PureWindowsPath(r"C:\data\KS014\2020-07-01\1")
    assert not hasattr(windows, "iter_datasets")


def test_any_path_as_an_alf_path() -> None:
    path = ALFPath("a")
    assert ours.ensure_alf_path(path) is path
    for given_path, kind in [
        ("a", ALFPath),
        (Path("a"), ALFPath),
        (theirs.ALFPath("a"), ALFPath),
        (PurePosixPath("a"), PurePosixALFPath),
        (PureWindowsPath("a"), PureWindowsALFPath),
    ]:
        assert type(ours.ensure_alf_path(given_path)) is kind
    assert ours.ensure_alf_path(["a", Path("b")]) == [ALFPath("a"), ALFPath("b")]
    with pytest.raises(TypeError, match="5 is no path"):
        ours.ensure_alf_path(5)


# -- parts -----------------------------------------------------------------------------------------------------------

PATHS = [
    FULL, SESSION, f"{SESSION}/", f"{SESSION}/alf", f"{SESSION}/alf/probe00/", f"{SESSION}/#r#", f"{SESSION}/alf/#r#",
    f"{SESSION}/{FILE}", f"{SESSION}/#r#/a.b.npy", "KS014/2020-07-01/1", "KS014/2020-07-01/1/alf/a.b.npy",
    f"KS014/2020-07-01/1/a.b.{ID}.npy", f"{SESSION}/alf/a b.npy", f"{SESSION}/a b.npy", f"{SESSION}/alf/a.b",
    f"{SESSION}/a b/x.y.npy", "a.b.npy", "alf/a.b.npy", "/data", "", ".", "channels._phy_ids.csv", "KS014/2020-13-41/1",
    "/data/cortexlab/Subjects/KS014", "/d/s/2020-01-01/001/alf/t/2021-01-01/002/a.b.npy",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_parts_of_paths(path: str) -> None:
    for name in PROPERTIES:
        assert getattr(ALFPath(path), name) == getattr(theirs.ALFPath(path), name), name


@pytest.mark.parametrize("path", PATHS)
def test_what_is_told_of_paths(path: str) -> None:
    for name in ("parse_alf_path", "parse_alf_name", "session_path", "session_path_short", "without_lab", "is_dataset"):
        ours, expected = (text_of(getattr(kind(path), name)()) for kind in (ALFPath, theirs.ALFPath))
        assert ours == expected, name


@pytest.mark.parametrize("path", PATHS)
def test_paths_as_tuples(path: str) -> None:
    alf_path, expected = ALFPath(path), theirs.ALFPath(path)
    assert alf_path.parse_alf_path(as_dict=False) == expected.parse_alf_path(as_dict=False)
    assert alf_path.parse_alf_name(as_dict=False) == expected.parse_alf_name(as_dict=False)
    if alf_path.lab:  # ONE begins with a slash where there is none
        assert alf_path.session_path_short(include_lab=True) == expected.session_path_short(include_lab=True)


@pytest.mark.parametrize("path", [path for path in PATHS if "a b/" not in path and not path.endswith("probe00/")])
def test_whether_a_path_is_valid(path: str) -> None:
    for kind in (ALFPath, PureALFPath):
        assert kind(path).is_valid_alf() == theirs.ALFPath(path).is_valid_alf()
        assert kind(path).is_session_path() == theirs.ALFPath(path).is_session_path()


FUNCTIONS = ["rel_path_parts", "session_path_parts", "filename_parts", "folder_parts", "full_path_parts"]
MORE_LENIENT = [("rel_path_parts", "/"), ("folder_parts", "."), ("folder_parts", " "), ("full_path_parts", "a b/")]
"""What ONE tells parts of: absolute paths in a session, files and names with blanks for folders."""


@pytest.mark.parametrize("path", [*PATHS, f"alf/#r#/{FILE}", f"#r#/{FILE}", "alf/probe00/a.b.npy", FILE])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_parts_by_functions(path: str, name: str) -> None:
    parts = getattr(ours, name)
    if any((name, sign) in MORE_LENIENT and sign in path for sign in ("/", ".", " ", "a b/")):
        return
    if (name, path) == ("full_path_parts", f"{SESSION}/alf/probe00/"):
        return  # ONE takes collections of one level only
    for as_dict in (False, True):
        try:
            told = getattr(theirs, name)(path, as_dict=as_dict)
        except ValueError:
            with pytest.raises(ALFInvalid, match="follows the ALF convention"):
                parts(path, as_dict=as_dict)
            nothing = parts(path, as_dict=as_dict, assert_valid=False)
            assert not any(nothing.values() if as_dict else nothing)
        else:
            assert parts(path, as_dict=as_dict) == parts(PurePosixPath(path), as_dict=as_dict) == told
            assert parts(path, as_dict=as_dict, assert_valid=False) == told


@pytest.mark.parametrize("path", [f"{SESSION}/alf", f"{SESSION}/a.b", f"{SESSION}/alf/#r#", SESSION])
def test_parts_of_folders(path: str) -> None:
    assert ours.folder_parts(path) == theirs.folder_parts(path)


@pytest.mark.parametrize("path", ["/abs/a.b.npy", "alf/#r#/c/a.b.npy", "alf//a.b.npy"])
def test_what_is_no_path_inside_a_session(path: str) -> None:
    with pytest.raises(ALFInvalid, match="no path inside a session"):
        ours.rel_path_parts(path)
    assert ours.rel_path_parts(path, assert_valid=False) == (None,) * 8


@pytest.mark.parametrize("path", [f"{SESSION}/alf/a b", f"{SESSION}/alf/#r#/c", "alf"])
def test_what_is_no_folder_in_a_session(path: str) -> None:
    with pytest.raises(ALFInvalid, match="no path of a folder"):
        ours.folder_parts(path)
    assert ours.folder_parts(path, as_dict=True, assert_valid=False) == dict.fromkeys(
        [*PROPERTIES[:3], "number", "collection", "revision"]
    )


WORD = string.ascii_letters + string.digits + "_"
word = st.text(WORD, min_size=1, max_size=6)
plain = st.text(string.ascii_letters + string.digits, min_size=1, max_size=6)
label = st.text(WORD + ".-", min_size=1, max_size=6).filter(lambda text: text.strip("."))


@st.composite
def paths(draw: st.DrawFn) -> dict[str, str]:
    """The parts of a path that is valid for ONE and for the convention."""
    absent = st.just("")
    return {
        "root": draw(st.sampled_from(["", "/", "/data/", "/a b/c/"])),
        "lab": draw(absent | word),
        "subject": draw(label),
        "date": draw(st.dates(min_value=date(1000, 1, 1))).isoformat(),
        "number": f"{draw(st.integers(0, 999)):03d}",
        "collection": draw(absent | st.lists(label, min_size=1, max_size=3).map("/".join)),
        "revision": draw(absent | label),
        "namespace": draw(absent | plain),
        "object": draw(word.filter(lambda text: not text.startswith("_"))),
        "attribute": draw(plain) + draw(st.sampled_from(["", "_times", "_intervals"])),
        "timescale": draw(absent | word),
        "extra": draw(absent | st.lists(st.text(WORD + "-", min_size=1, max_size=5), max_size=2).map(".".join)),
        "extension": draw(plain),
    }


def built(parts: dict[str, str]) -> str:
    places = [
        parts["root"] + (f"{parts['lab']}/Subjects" if parts["lab"] else ""),
        *(parts[name] for name in ("subject", "date", "number", "collection")),
        parts["revision"] and f"#{parts['revision']}#",
    ]
    name = f"_{parts['namespace']}_" * bool(parts["namespace"]) + f"{parts['object']}.{parts['attribute']}"
    name += f"_{parts['timescale']}" * bool(parts["timescale"]) + f".{parts['extra']}" * bool(parts["extra"])
    text = "/".join(filter(None, [places[0].rstrip("/"), *places[1:], f"{name}.{parts['extension']}"]))
    return f"/{text}" if parts["root"] == "/" and not parts["lab"] else text


@given(paths())
@quick
def test_built_paths_have_the_parts_they_were_built_of(parts: dict[str, str]) -> None:
    path = ALFPath(built(parts))
    found = path.parse_alf_path()
    assert {name: value or "" for name, value in found.items()} == {k: v for k, v in parts.items() if k != "root"}
    assert found == theirs.ALFPath(built(parts)).parse_alf_path()
    assert path.is_valid_alf()
    assert ours.full_path_parts(path, as_dict=True) == found
    assert ours.rel_path_parts(path.relative_to_session()) == tuple(found.values())[4:]


CHANGES: list[tuple[str, str]] = [
    ("with_lab", "lab"), ("with_subject", "subject"), ("with_date", "date"), ("with_sequence", "number"),
    ("with_collection", "collection"), ("with_revision", "revision"), ("with_namespace", "namespace"),
    ("with_object", "object"), ("with_attribute", "attribute"), ("with_timescale", "timescale"),
    ("with_extra", "extra"), ("with_extension", "extension"),
]  # fmt: skip


@given(paths(), paths(), st.sampled_from(CHANGES))
@quick
def test_a_part_is_changed_and_no_other(parts: dict[str, str], others: dict[str, str], change: tuple[str, str]) -> None:
    method, name = change
    if name in ("lab", "revision") and not others[name]:
        return
    changed = {**parts, name: others[name]}
    path = getattr(ALFPath(built(parts)), method)(others[name])
    assert path == Path(built(changed))
    if name not in ("attribute", "timescale"):  # ONE leaves an old `_times` there, or takes it away
        assert path.as_posix() == getattr(theirs.ALFPath(built(parts)), method)(others[name]).as_posix()


def test_the_recorded_paths() -> None:
    for row in recorded_rows():
        path = f"/data/{row.path}"
        assert ALFPath(path).alf_parts == theirs.ALFPath(path).alf_parts
        assert ALFPath(path).is_valid_alf() == theirs.ALFPath(path).is_valid_alf()


def test_where_one_tells_other_parts() -> None:
    """Labs and subjects are whole folder names; what does not fit the convention is not valid."""
    assert theirs.ALFPath("/data/my-lab/Subjects/KS014/2020-07-01/001").lab == "lab"
    assert ALFPath("/data/my-lab/Subjects/KS014/2020-07-01/001").session_parts == ("", "KS014", "2020-07-01", "001")
    assert theirs.ALFPath("KS014/2020-07-01/0011/x").sequence == "001"
    assert ALFPath("KS014/2020-07-01/0011/x").sequence == ""
    assert theirs.ALFPath(f"{SESSION}/a b/x.y.npy").is_valid_alf()
    assert not ALFPath(f"{SESSION}/a b/x.y.npy").is_valid_alf()
    assert ALFPath(f"{SESSION}/a b/x.y.npy").alf_parts == theirs.ALFPath(f"{SESSION}/a b/x.y.npy").alf_parts
    assert theirs.filename_parts("_obj.attr.npy")[:2] == ("ob", "j")
    assert ours.filename_parts("_obj.attr.npy")[:2] == (None, "_obj")
    assert not theirs.ALFPath(f"{SESSION}/alf/probe00").is_valid_alf()
    assert ALFPath(f"{SESSION}/alf/probe00").is_valid_alf()


# -- files on the disk -----------------------------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "KS014/2020-07-01/001"
    (folder / "alf/c.d.npy").mkdir(parents=True)
    (folder / "alf/probe00").mkdir()
    (folder / "raw").symlink_to(folder / "alf")
    for name in ("alf/x.y.npy", "alf/probe00/z.y.npy", "alf/notes.txt", "alf/foo", "b.c.npy", "alf/c.d.npy/e.f.npy"):
        (folder / name).touch()
    (folder / "l.k.npy").symlink_to(folder / "b.c.npy")
    (folder.parent / "002").touch()
    return folder


def test_whether_a_folder_stands_there(session: Path) -> None:
    for place, tells in {
        "001": (True, False, True),
        "002": (False, False, False),
        "003": (True, False, True),
        "001/alf/c.d.npy": (False, False, True),
        "001/alf/x.y.npy": (False, True, True),
        "001/alf/foo": (False, False, False),
        "001/alf/bar": (False, False, True),
    }.items():
        path = ALFPath(session.parent, place)
        assert (path.is_session_path(), path.is_dataset(), path.is_valid_alf()) == tells, place
        expected = theirs.ALFPath(path)
        assert (expected.is_session_path(), expected.is_dataset()) == tells[:2]
        assert PureALFPath(path).is_session_path() == (len(place) == 3)
        assert PureALFPath(path).is_dataset() == place.endswith("npy")


def test_checks_take_any_path_too(session: Path) -> None:
    assert ALFPath.is_session_path(session)  # type: ignore[arg-type]
    assert not ALFPath.is_session_path(str(session.parent / "002"))  # type: ignore[arg-type]
    assert PureALFPath.is_valid_alf("a.b.npy")  # type: ignore[arg-type]
    assert ALFPath.is_valid_alf("a.b.npy")  # type: ignore[arg-type]
    assert ALFPath.is_dataset("alf/a.b.npy")  # type: ignore[arg-type]


def test_datasets_below_a_folder(session: Path) -> None:
    def below(folder: str, *, recursive: bool) -> list[str]:
        return [path.relative_to(session).as_posix() for path in ALFPath(session, folder).iter_datasets(recursive)]

    assert below("", recursive=False) == ["b.c.npy", "l.k.npy"]
    assert below("", recursive=True) == [
        "alf/c.d.npy/e.f.npy", "alf/probe00/z.y.npy", "alf/x.y.npy", "b.c.npy", "l.k.npy",
    ]  # fmt: skip
    assert below("alf", recursive=False) == ["alf/x.y.npy"]
    assert below("no such", recursive=True) == below("b.c.npy", recursive=True) == []
    assert {type(path) for path in ALFPath(session).iter_datasets(recursive=True)} == {ALFPath}


# -- changes ---------------------------------------------------------------------------------------------------------

Change = Callable[[Any], Any]
SAME_AS_ONE: dict[str, Change] = {
    "date": lambda path: path.with_date(date(2024, 1, 2)),
    "time": lambda path: path.with_date(datetime(2024, 1, 2, 3)),
    "number": lambda path: path.with_sequence(2),
    "digits": lambda path: path.with_sequence("02"),
    "root": lambda path: path.with_collection(""),
    "no collection": lambda path: path.with_collection(None),
    "collection as a path": lambda path: path.with_collection(PurePosixPath("c/d")),
    "no revision": lambda path: path.without_revision(),
    "no namespace": lambda path: path.with_namespace(None),
    "no timescale": lambda path: path.with_timescale(""),
    "no extra": lambda path: path.with_extra(""),
    "extra": lambda path: path.with_extra(["e", "f"]),
    "more extra": lambda path: path.with_extra(["e", "f"], append=True),
    "nothing more": lambda path: path.with_extra("", append=True),
    "uuid": lambda path: path.with_uuid(ID),
    "another uuid": lambda path: path.with_uuid(UUID(ID)).with_uuid(OTHER_ID),
    "without uuid": lambda path: path.with_uuid(ID).without_uuid(),
    "strict uuid": lambda path: path.with_uuid(ID).with_uuid(ID, strict=True),
    "strict lab": lambda path: path.with_lab("x", strict=True),
    "no lab": lambda path: path.without_lab(),
    "below the lab": lambda path: path.relative_to_lab(),
    "below the session": lambda path: path.relative_to_session(),
    "padded": lambda path: path.with_padded_sequence(),
}


@pytest.mark.parametrize("name", SAME_AS_ONE)
@pytest.mark.parametrize("path", [FULL, FULL.replace("001", "1"), f"cortexlab/Subjects/KS014/2020-07-01/001/{FILE}"])
def test_changes_as_one_makes_them(name: str, path: str) -> None:
    changed = SAME_AS_ONE[name](ALFPath(path))
    assert changed.as_posix() == SAME_AS_ONE[name](theirs.ALFPath(path)).as_posix()
    assert type(changed) is ALFPath


def test_changes_of_folders() -> None:
    assert ALFPath(SESSION).with_revision("r") == Path(f"{SESSION}/#r#")
    assert ALFPath(SESSION).with_collection("alf") == Path(f"{SESSION}/alf")
    assert ALFPath(f"{SESSION}/alf/#r#").without_revision() == Path(f"{SESSION}/alf")
    assert ALFPath(SESSION).without_revision() == Path(SESSION)
    assert ALFPath(SESSION).relative_to_session() == Path()
    assert ALFPath("cortexlab/Subjects/KS014").without_lab() == Path("KS014")
    assert ALFPath("cortexlab/Subjects/KS014").relative_to_lab() == Path("KS014")
    assert ALFPath("/data").without_lab() == Path("/data")
    assert ALFPath("/").without_uuid() == Path("/")


BAD_CHANGES: dict[str, Change] = {
    **{f"lab {value!r}": lambda path, value=value: path.with_lab(value) for value in ("a b", "", None, "a/b", "a-b")},
    **{f"subject {value!r}": lambda path, value=value: path.with_subject(value) for value in ("a b", "", "a/b")},
    **{f"date {value!r}": lambda path, value=value: path.with_date(value) for value in ("x", "2020-13-41", 5, "")},
    **{f"number {value!r}": lambda path, value=value: path.with_sequence(value) for value in ("x", 1000, -1, None)},
    **{
        f"place {value!r}": lambda path, value=value: path.with_collection(value)
        for value in ("a b", "#d#", "/a", "..a/")
    },
    **{
        f"revision {value!r}": lambda path, value=value: path.with_revision(value)
        for value in ("#r#", "", "a b", "a/b")
    },
    **{
        f"object {value!r}": lambda path, value=value: path.with_object(value)
        for value in ("o b", "", "a.b", "a/b", "a-b")
    },
    **{f"namespace {value!r}": lambda path, value=value: path.with_namespace(value) for value in ("a_b", "a b", ".")},
    **{f"attribute {value!r}": lambda path, value=value: path.with_attribute(value) for value in ("a b", "", "a_b")},
    **{f"extension {value!r}": lambda path, value=value: path.with_extension(value) for value in (".csv", "", "a b")},
    "timescale": lambda path: path.with_timescale("a b"),
    "extra": lambda path: path.with_extra("a b"),
    "uuid": lambda path: path.with_uuid("x"),
    "another uuid": lambda path: path.with_uuid(ID).with_uuid(OTHER_ID, strict=True),
}


@pytest.mark.parametrize("name", BAD_CHANGES)
def test_changes_that_cannot_be(name: str) -> None:
    with pytest.raises(ALFInvalid):
        BAD_CHANGES[name](ALFPath(FULL))


METHODS = {
    "with_lab": "x", "with_subject": "x", "with_date": "2020-01-01", "with_sequence": 1, "with_collection": "x",
    "with_revision": "x", "with_object": "x", "with_namespace": "x", "with_attribute": "x", "with_timescale": "x",
    "with_extra": "x", "with_extension": "x", "with_uuid": ID,
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_what_has_no_such_part_cannot_be_changed(method: str) -> None:
    for path in ("/data", "/data/a b.npy"):
        with pytest.raises(ALFInvalid):
            getattr(ALFPath(path), method)(METHODS[method])


@pytest.mark.parametrize(
    "method", ["relative_to_session", "relative_to_lab", "without_revision", "with_padded_sequence"]
)
def test_what_is_in_no_session_has_nothing_relative_to_it(method: str) -> None:
    with pytest.raises(ALFInvalid):
        getattr(ALFPath("/data/x"), method)()
    with pytest.raises(ALFInvalid, match="has no lab"):
        ALFPath("KS014/2020-07-01/001").with_lab("x", strict=True)
    with pytest.raises(ALFInvalid, match="no folder Subjects"):
        ALFPath("KS014/2020-07-01/001/a.b.npy").relative_to_lab()


# -- plain functions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PATHS, PureWindowsPath("c:/KS014/2020-07-01/1/a")])
def test_the_session_in_a_path(path: str | PurePath) -> None:
    assert text_of(ours.get_session_path(path)) == text_of(theirs.get_session_path(path))


def test_no_path_is_in_no_session() -> None:
    assert ours.get_session_path(None) is None


@pytest.mark.parametrize("path", [*PATHS, "/mnt/a.b.npy", "/mnt/alf/#r#/a.b.npy", "x"])
def test_the_part_of_a_path_that_is_alf(path: str) -> None:
    assert ours.get_alf_path(path) == theirs.get_alf_path(path)
    assert ours.get_alf_path(PurePosixPath(path)) == theirs.get_alf_path(PurePosixPath(path))


def test_folders_that_are_not_alf_stand_before_it() -> None:
    assert ours.get_alf_path("/mnt/a b/alf/a.b.npy") == "alf/a.b.npy"


@pytest.mark.parametrize("path", ["/a/b.c.npy", "/a/b", f"/a/b.c.{OTHER_ID}.npy", f"/a/b.c.{ID}.npy", "/a/b.tar.gz"])
def test_ids_in_file_names(path: str) -> None:
    added = ours.add_uuid_string(path, ID)
    assert added.as_posix() == theirs.add_uuid_string(path, ID).as_posix()
    assert ours.remove_uuid_string(added).as_posix() == theirs.remove_uuid_string(added).as_posix()
    assert ours.add_uuid_string(Path(path), UUID(ID)) == added


def test_ids_that_cannot_be_added() -> None:
    with pytest.raises(ALFInvalid, match="'x' is no UUID"):
        ours.add_uuid_string("a.b.npy", "x")
    with pytest.raises(ALFInvalid, match="another UUID"):
        ours.add_uuid_string(f"a.b.{OTHER_ID}.npy", ID, strict=True)
    assert ours.add_uuid_string("a.b.npy", ID, strict=True) == Path(f"a.b.{ID}.npy")


def test_numbers_and_revisions_by_functions() -> None:
    assert ours.padded_sequence("s/2020-01-01/1/a.b.npy") == Path("s/2020-01-01/001/a.b.npy")
    assert ours.without_revision(FULL) == ALFPath(FULL).without_revision()
    with pytest.raises(ValueError, match="in no session"):
        ours.padded_sequence("a")
    with pytest.raises(ALFInvalid):
        ours.without_revision("a.b.npy")
