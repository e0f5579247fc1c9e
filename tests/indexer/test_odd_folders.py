"""Folders and files that cannot be read, lead nowhere, are no files, or have odd names: counted, named, left out."""

import os
import socket
from functools import partial
from hashlib import md5
from pathlib import Path
from types import SimpleNamespace

import pytest
from indexed import OLD_NS, fill, hashes, make_tables, rows, skipped
from privileges import as_ordinary_user

from onefs.errors import SourceError
from onefs.indexer.scan import ScanOptions, Skipped, facts_of, scan_folders

SESSION = "S/2020-07-01/001"
FILES = (f"{SESSION}/a.b.npy", f"{SESSION}/alf/a.b.npy", f"{SESSION}/alf/p/c.d.npy", "T/2020-07-01/001/a.b.npy")


@pytest.fixture
def root(tmp_path):
    return fill(tmp_path / "data", *FILES)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def md5_of(path: str) -> str:
    return md5(path.encode()).hexdigest()


# -- unreadable ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "mode", "lost"),
    [
        (f"{SESSION}/alf", 0o000, FILES[1:3]),
        (f"{SESSION}/alf", 0o444, FILES[1:3]),  # its names can be read, its files not
        (SESSION, 0o000, FILES[:3]),
        ("S", 0o000, FILES[:3]),
        ("S/2020-07-01", 0o444, FILES[:3]),
    ],
)
def test_rows_and_hashes_of_what_becomes_unreadable_are_kept(folder, mode, lost, root, out):
    make_tables(root, out, hash_files=True)
    (root / FILES[3]).write_bytes(b"new")
    (root / folder).chmod(mode)
    result = as_ordinary_user(make_tables, root, out)
    assert result.n_unreadable == len(result.unreadable) > 0
    assert {each.why for each in result.unreadable} == {"Permission denied"}
    assert all(f"{each.path}/".startswith(f"{root}/{folder}/") for each in result.unreadable)
    assert hashes(out) == {path: md5_of(path) for path in FILES[:3]} | {FILES[3]: None}
    assert set(lost) < set(hashes(out))
    (root / folder).chmod(0o755)
    (root / FILES[1]).unlink()
    make_tables(root, out, hash_files=True)
    assert set(hashes(out)) == set(FILES) - {FILES[1]}


def test_what_was_never_readable_is_told_and_the_rest_indexed(root, out):
    (root / f"{SESSION}/alf").chmod(0)
    result = as_ordinary_user(make_tables, root, out)
    assert [each.path for each in result.unreadable] == [f"{root}/{SESSION}/alf"]
    assert set(rows(out)) == {FILES[0], FILES[3]}


def test_only_folders_above_sessions_are_given_apart_if_unreadable(root):
    fill(root, "U/2020-07-01/001/a.b.npy")
    (root / f"{SESSION}/alf").chmod(0o444)
    (root / "T/2020-07-01/001").chmod(0)
    (root / "U").chmod(0)
    found = as_ordinary_user(scan_folders, [str(root)], ScanOptions())
    assert len(found.unreadable) == 4
    assert found.closed == [f"{root}/U"]


def test_a_file_that_cannot_be_read_has_a_row_without_hash(root, out):
    (root / FILES[0]).chmod(0)
    result = as_ordinary_user(partial(make_tables, root, out, hash_files=True))
    assert [(each.path, each.why) for each in result.unreadable] == [(f"{root}/{FILES[0]}", "Permission denied")]
    assert hashes(out) == {path: md5_of(path) for path in FILES} | {FILES[0]: None}


def test_a_root_that_cannot_be_read_changes_nothing(root, out):
    make_tables(root, out, hash_files=True)
    before = hashes(out)
    root.chmod(0)
    with pytest.raises(SourceError, match="cannot be read: Permission denied"):
        as_ordinary_user(make_tables, root, out)
    root.chmod(0o755)
    assert hashes(out) == before
    assert make_tables(root, out, hash_files=True).n_hashed == 0


def test_a_disk_that_is_not_mounted_costs_no_hash(root, out, tmp_path):
    make_tables(root, out, hash_files=True)
    root.rename(tmp_path / "disk")
    root.mkdir()  # where it is mounted
    with pytest.raises(SourceError, match="no session folder"):
        make_tables(root, out)
    assert len(rows(out)) == len(FILES)
    root.rmdir()
    (tmp_path / "disk").rename(root)
    result = make_tables(root, out, hash_files=True)
    assert (result.n_hashed, result.is_new) == (0, False)


# -- links -----------------------------------------------------------------------------------------------------------


def test_loops_of_links_hide_nothing_beside_them(root, out):
    loops = ["0", "S/0", f"{SESSION}/0", f"{SESSION}/l.l.npy", f"{SESSION}/alf/0", "zz"]
    for path in loops:
        (root / path).symlink_to(Path(path).name)
    (root / "S/round").symlink_to(root)
    (root / f"{SESSION}/alf/round.a.npy").symlink_to("..")
    why = skipped(root, out)
    assert set(rows(out)) == set(FILES)
    assert why == {
        "0": Skipped.OUTSIDE,
        "S/0": Skipped.OUTSIDE,
        "zz": Skipped.OUTSIDE,
        "S/round": Skipped.FOLDER_LINK,
        f"{SESSION}/0": Skipped.FILE_NAME,
        f"{SESSION}/alf/0": Skipped.FILE_NAME,
        f"{SESSION}/l.l.npy": Skipped.BROKEN_LINK,
        f"{SESSION}/alf/round.a.npy": Skipped.FOLDER_LINK,
    }


def test_links_to_files_are_files_wherever_they_lead(root, out, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"12345")
    (root / f"{SESSION}/l.a.npy").symlink_to(outside)
    (root / f"{SESSION}/l.b.npy").symlink_to(tmp_path / "nowhere")
    (root / f"{SESSION}/l.c.npy").symlink_to(outside / "below")
    assert skipped(root, out) == {f"{SESSION}/{name}": Skipped.BROKEN_LINK for name in ("l.b.npy", "l.c.npy")}
    make_tables(root, out, hash_files=True)
    row = rows(out)[f"{SESSION}/l.a.npy"]
    assert (row["file_size"], row["hash"]) == (5, md5(b"12345").hexdigest())
    outside.write_bytes(b"1234567")
    make_tables(root, out, hash_files=True)
    assert hashes(out)[f"{SESSION}/l.a.npy"] == md5(b"1234567").hexdigest()


def test_a_link_whose_target_may_not_be_seen_is_told(root, out, tmp_path):
    fill(tmp_path, "hidden/file")
    (root / f"{SESSION}/l.a.npy").symlink_to(tmp_path / "hidden/file")
    make_tables(root, out, hash_files=True)
    before = hashes(out)
    (tmp_path / "hidden").chmod(0)
    result = as_ordinary_user(make_tables, root, out)
    assert [each.path for each in result.unreadable] == [f"{root}/{SESSION}/l.a.npy"]
    assert hashes(out) == before


def test_a_root_may_be_given_by_a_link(root, out, tmp_path):
    make_tables(root, hash_files=True)
    (tmp_path / "link").symlink_to(root)
    result = make_tables(tmp_path / "link", hash_files=True)
    assert (result.is_new, result.n_hashed) == (False, 0)


# -- what is no file -------------------------------------------------------------------------------------------------


def test_pipes_sockets_and_devices_are_not_opened(root, out):
    os.mkfifo(root / f"{SESSION}/p.a.npy")
    with socket.socket(socket.AF_UNIX) as unix:
        here = os.open(root / SESSION, os.O_RDONLY)
        unix.bind(f"/proc/self/fd/{here}/s.a.npy")
        os.close(here)
    (root / f"{SESSION}/z.a.npy").symlink_to("/dev/zero")
    names = ("p.a.npy", "s.a.npy", "z.a.npy")
    assert skipped(root, out) == {f"{SESSION}/{name}": Skipped.SPECIAL for name in names}
    make_tables(root, out, hash_files=True)
    assert set(hashes(out)) == set(FILES)


# -- names and depths ------------------------------------------------------------------------------------------------


def test_names_that_are_no_text_or_break_lines(root, out):
    odd = ["a\udcff.b.npy", "a\n.b.npy", "a.b.npy\n", "a\x1c.b.npy", "a\x85.b.npy", "a\u2028.b.npy", "a\r.b.npy"]
    for name in odd:
        (root / SESSION / name).write_bytes(b"")
        (root / SESSION / "alf" / name).mkdir()
        (root / SESSION / "alf" / name / "a.b.npy").write_bytes(b"")
        fill(root, f"S/2020-07-02/001{name}/a.b.npy")
    why = skipped(root, out)
    assert set(rows(out)) == set(FILES)
    assert {path for path, each in why.items() if each is Skipped.FILE_NAME} == {f"{SESSION}/{name}" for name in odd}
    assert {path for path, each in why.items() if each is Skipped.FOLDER_NAME} == {
        f"{SESSION}/alf/{name}" for name in odd
    }


def test_every_character_in_a_file_name_agrees_with_the_lines_of_a_listing(tmp_path):
    """Whatever character a file name may have, the names of a listing are those of the files."""
    session = tmp_path / SESSION
    session.mkdir(parents=True)
    names = [f"a{chr(code)}.b.npy" for code in (*range(1, 0x200), *range(0x200, 0x10000, 31)) if chr(code) != "/"]
    for name in names:
        (session / os.fsdecode(name.encode(errors="surrogatepass"))).touch()
    (listing,) = scan_folders([str(session)], ScanOptions()).listings
    paths = listing.paths.split("\n")
    assert len(paths) * 24 == len(listing.facts)
    assert 500 < len(paths) < len(names)
    assert {path for path in paths if not (session / path).exists()} == set()


def test_composed_and_decomposed_letters(root, out):
    composed, decomposed = "caf\u00e9.b.npy", "cafe\u0301.b.npy"  # `\w` has no combining marks, as in ONE
    fill(root, f"{SESSION}/{composed}", f"{SESSION}/{decomposed}")
    assert skipped(root, out) == {f"{SESSION}/{decomposed}": Skipped.FILE_NAME}
    assert set(rows(out)) == {*FILES, f"{SESSION}/{composed}"}


def test_the_longest_names(root, out):
    longest = "x" * 250 + ".a.bc"
    assert len(longest) == 255
    fill(root, f"{SESSION}/{longest}")
    make_tables(root, out, hash_files=True)
    assert hashes(out)[f"{SESSION}/{longest}"] == md5_of(f"{SESSION}/{longest}")


def test_folders_above_sessions_may_be_no_text(tmp_path):
    root = tmp_path / os.fsdecode(b"d\xff")
    above = root / os.fsdecode(b"lab \xfe\n")
    for file in FILES:
        (above / file).parent.mkdir(parents=True, exist_ok=True)
        (above / file).write_bytes(file.encode())
    for place in (root, above):
        make_tables(place, hash_files=True)
        assert hashes(place) == {path: md5_of(path) for path in FILES}
        assert make_tables(place, hash_files=True).n_hashed == 0


@pytest.mark.parametrize(("levels", "is_listed"), [(30, True), (62, True), (70, False)])
def test_levels_below_a_session(levels, is_listed, root, out):
    path = f"{SESSION}/{'f/' * levels}a.b.npy"
    fill(root, path)
    assert skipped(root, out) == ({} if is_listed else {path: Skipped.TOO_LONG})
    assert (path in rows(out)) is is_listed


def test_levels_above_a_session(out, tmp_path):
    fill(tmp_path / "data", f"{'f/' * 70}{FILES[0]}")
    make_tables(tmp_path / "data", out)
    assert set(rows(out)) == {FILES[0]}


def test_paths_that_are_too_long(root, out):
    path = f"{SESSION}/{('x' * 200 + '/') * 11}a.b.npy"
    at = os.open(root / SESSION, os.O_RDONLY)
    for _ in range(30):  # beyond what the system takes as one path
        os.mkdir("y" * 200, dir_fd=at)
        at = os.open("y" * 200, os.O_RDONLY, dir_fd=at)
    os.close(at)
    fill(root, path)
    result = make_tables(root, out)
    assert result.skipped == {Skipped.TOO_LONG: 1}
    assert [each.why for each in result.unreadable] == ["File name too long"]
    assert set(rows(out)) == set(FILES)


def test_facts_of_any_size():
    odd = SimpleNamespace(st_size=(1 << 63) - 1, st_mtime_ns=-1, st_ino=(1 << 64) - 1)
    assert facts_of(odd).tobytes()[:8] == ((1 << 63) - 1).to_bytes(8, "little")
    assert facts_of(odd).tobytes()[16:] == ((1 << 64) - 1).to_bytes(8, "little")


@pytest.mark.parametrize("mtime_ns", [0, -1, -(10**18), 9 * 10**18])
def test_any_mtime_is_hashed_once(mtime_ns, root, out):
    os.utime(root / FILES[0], ns=(mtime_ns, mtime_ns))
    assert make_tables(root, out, hash_files=True).n_hashed == len(FILES)
    assert make_tables(root, out, hash_files=True).n_hashed == 0
    (root / FILES[0]).write_bytes(b"x" * len(FILES[0]))
    os.utime(root / FILES[0], ns=(OLD_NS, OLD_NS))
    assert make_tables(root, out, hash_files=True).n_hashed == 1


def test_another_file_with_the_same_size_and_mtime_is_hashed(root, out):
    make_tables(root, out, hash_files=True)
    (root / "new").write_bytes(b"x" * len(FILES[0]))
    os.utime(root / "new", ns=(OLD_NS, OLD_NS))
    (root / "new").replace(root / FILES[0])  # another inode
    assert make_tables(root, out, hash_files=True).n_hashed == 1
    assert hashes(out)[FILES[0]] == md5(b"x" * len(FILES[0])).hexdigest()


# -- sessions --------------------------------------------------------------------------------------------------------


def test_the_folder_with_three_digits_wins(tmp_path):
    root = tmp_path
    for name in ("1", "01", "001"):
        fill(root, f"S/2020-07-01/{name}/a.b.npy", f"S/2020-07-01/{name}/only.in{name}.npy")
    make_tables(root, hash_files=True)
    assert hashes(root) == {
        f"{SESSION}/a.b.npy": md5_of(f"{SESSION}/a.b.npy"),
        **{
            f"{SESSION}/only.in{name}.npy": md5_of(f"S/2020-07-01/{name}/only.in{name}.npy")
            for name in ("1", "01", "001")
        },
    }


def test_a_session_in_a_session_is_a_collection_of_it(root, out):
    fill(root, f"{SESSION}/T/2020-07-01/002/a.b.npy")
    make_tables(root, out)
    assert rows(out)[f"{SESSION}/T/2020-07-01/002/a.b.npy"]["rel_path"] == "T/2020-07-01/002/a.b.npy"


def test_the_same_session_of_two_labs_and_of_none(tmp_path):
    files = [f"{lab}{FILES[0]}" for lab in ("one/Subjects/", "two/Subjects/", "")]
    make_tables(fill(tmp_path, *files), hash_files=True)
    assert hashes(tmp_path) == {path: md5_of(path) for path in files}


def test_a_folder_of_many_files(tmp_path):
    session = tmp_path / SESSION / "alf"
    session.mkdir(parents=True)
    (session / "a.b.npy").touch()
    for n in range(20_000):
        (session / f"a.b{n:05d}.npy").touch()
    assert make_tables(tmp_path).n_files == 20_001
    assert make_tables(tmp_path).is_new is False
    (session / "a.b19999.npy").unlink()
    assert make_tables(tmp_path).n_files == 20_000
