"""An overlayfs over a mount: results beside the data, which stay out of the archive and its cache."""

import shlex
import subprocess
from pathlib import Path

import pytest
from mounted import Mounted

IN_A_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "bash", "-euc")
OVERLAY = "mount -t overlay overlay -o userxattr,lowerdir={lower},upperdir={upper},workdir={work} {merged}\n"
LIST = "find -type f -printf '%P\\n'"


class Overlay:
    """An overlay over a folder, which whoever runs in it sees alone. `upper` keeps what was written."""

    def __init__(self, lower: Path, folder: Path) -> None:
        self.upper = folder / "upper"
        self.merged = folder / "merged"
        folders = {"lower": lower, "upper": self.upper, "work": folder / "work", "merged": self.merged}
        for path in folders.values():
            path.mkdir(parents=True, exist_ok=True)
        self._mount = OVERLAY.format(**{name: shlex.quote(str(path)) for name, path in folders.items()})

    def run(self, script: str) -> str:
        """Run lines of bash in the overlay; what they print."""
        words = [*IN_A_NAMESPACE, f"{self._mount}cd {shlex.quote(str(self.merged))}\n{script}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def overlay(recorded: Mounted, tmp_path: Path) -> Overlay:
    """An overlay over the mounted archive; the test is skipped where nobody may mount one."""
    trial = Overlay(tmp_path / "lower", tmp_path / "trial")
    try:
        trial.run("")
    except AssertionError as error:
        pytest.skip(f"this machine lets nobody mount an overlay in a namespace of their own: {error}")
    return Overlay(recorded.path, tmp_path / "results")


def a_file(mount: Mounted) -> Path:
    """A file of the archive, relative to the mount."""
    return next(path for path in sorted(mount.path.rglob("*.npy"))).relative_to(mount.path)


def names_below(mount: Mounted) -> set[str]:
    """All files of the mount."""
    return {str(path.relative_to(mount.path)) for path in mount.path.rglob("*") if path.is_file()}


def fetched_files(mount: Mounted) -> int:
    """How many files the mount has fetched."""
    number: int = mount.status()["totals"]["files_fetched"]
    return number


def test_files_are_read_through_it_and_listing_fetches_nothing(recorded: Mounted, overlay: Overlay) -> None:
    file = a_file(recorded)
    assert set(overlay.run(LIST).splitlines()) == names_below(recorded)
    assert fetched_files(recorded) == 0
    read = overlay.run(f"md5sum < {shlex.quote(str(file))}").split()[0]
    assert read == recorded.xattr(file, "hash").replace("-", "")
    assert fetched_files(recorded) == 1


def test_what_is_written_is_kept_above_and_the_archive_stays(recorded: Mounted, overlay: Overlay) -> None:
    file = a_file(recorded)
    name, folder = shlex.quote(str(file)), shlex.quote(str(file.parent))
    before = (recorded.path / file).read_bytes()
    overlay.run(f"echo result > {folder}/mine.txt; echo more >> {name}")
    assert (overlay.upper / file.parent / "mine.txt").read_text() == "result\n"
    assert (overlay.upper / file).read_bytes() == before + b"more\n"
    assert (recorded.path / file).read_bytes() == before
    assert not (recorded.path / file.parent / "mine.txt").exists()
    overlay.run(f"rm {name}; ! test -e {name}")
    assert (recorded.path / file).read_bytes() == before
    assert recorded.xattr(file, "state") == "verified"


def test_mounted_again_it_shows_results_beside_what_the_archive_has_become(recorded: Mounted, overlay: Overlay) -> None:
    """While an overlay is mounted, overlayfs promises nothing of changes below."""
    file, before = a_file(recorded), names_below(recorded)
    mine = str(file.parent / "mine.txt")
    overlay.run(f"echo result > {shlex.quote(mine)}")
    (recorded.path / ".onefs/control").write_text("qc PASS")
    now = names_below(recorded)
    assert now < before
    assert set(overlay.run(LIST).splitlines()) == now | {mine}
    assert overlay.run(f"cat {shlex.quote(mine)}") == "result\n"
