"""Random operations of programs: both adapters answer alike, and as a plain copy on a disk would."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from archives import MADE_SESSION, make_tables
from file_operations import FLAGS, READING, WRITING, Answer, answer_of, look, open_so
from hypothesis import given, settings
from hypothesis import strategies as st
from mounted import ADAPTER_VARIABLE, Mounted

pytestmark = pytest.mark.needs_mount
N_EXAMPLES = int(os.environ.get("RANDOM_OPERATIONS", "40"))
MANY = 700
FILES = {
    "alf/a.times.npy": b"0123456789" * 50,
    "alf/none.times.npy": b"",
    "alf/probe00/deep/er/b.times.npy": bytes(5000),
    "alf/#2024-03-01#/a.times.npy": b"other" * 30_000,
    "raw data/ä ö.npy": b"x",
    **{f"many/part{number:04}.npy": bytes([number % 256]) for number in range(MANY)},
}
PATHS = sorted(
    {
        "/".join(parts[:depth])
        for parts in [f"{MADE_SESSION}/{name}".split("/") for name in FILES]
        for depth in range(len(parts) + 1)
    }
)
PATHS = [path for path in PATHS if "/part" not in path or path.endswith(("0000.npy", "0699.npy"))] + ["datasets.pqt"]
CONTROL = [
    ".onefs", ".onefs/README", ".onefs/mode", ".onefs/by-eid", ".onefs/query", ".onefs/query/subject=mouse",
    ".onefs/query/subject=nobody", ".onefs/query/bad=x", ".onefs/query/subject=mouse/lab", ".onefs/via/local/lab",
    ".onefs/as-of/2024-02-01", f".onefs/as-of/2024-02-01/{MADE_SESSION}/alf", ".onefs/recorded", ".onefs/default/lab",
    ".onefs/tag/none",
]  # fmt: skip
NAMES = [
    b".", b"..", b"", b"a.times.npy", b"alf", b"many", b"part0005.npy", b"absent", b"x" * 255, b"x" * 256, b"\xff\xfe",
    "ä ö.npy".encode(), b"a\nb", b"a\\b", b"*", b"#2024-03-01#", b"lab", b" ", b"A.times.npy", "a\u0308.npy".encode(),
    b"query", b"subject=mouse", b"x/" * 2100, b"part0005.npy\x01",
]  # fmt: skip


class Step(NamedTuple):
    """An operation on one or two paths."""

    operation: Callable[[bytes, bytes, int], Answer]
    path: bytes
    other: bytes
    choice: int


def is_inside(path: bytes) -> bool:
    """Whether a path never leads above the root."""
    depth = 0
    for name in path.split(b"/"):
        depth += {b"": 0, b".": 0, b"..": -1}.get(name, 1)
        if depth < 0:
            return False
    return True


def paths(known: list[str]) -> st.SearchStrategy[bytes]:
    """Known paths, some with other names behind them."""
    more = st.one_of(st.just([]), st.lists(st.sampled_from(NAMES), max_size=3))
    bases = st.sampled_from([path.encode() for path in known])
    return st.builds(lambda base, names: b"/".join([base, *names]), bases, more).filter(is_inside)


IN_TREE = st.builds(Step, st.sampled_from(READING + WRITING), paths(PATHS), paths(PATHS), st.integers(0, 120))
IN_CONTROL = st.builds(Step, st.sampled_from(READING), paths(CONTROL), paths(CONTROL), st.integers(0, 120))


DONE = "done"
OUT_OF_ORDER = "A disk that is mounted read-only refuses before it looks at what the change is."
OWN_ATTRIBUTES = "A mount has attributes of its own, and supports no others."
NO_FLAGS = "A mount has no flags such as `immutable`."
FOR_DIFFERING = {
    **dict.fromkeys(
        [
            ("change", error, "EROFS")
            for error in ("EEXIST", "EINVAL", "EISDIR", "ENOENT", "ENOTDIR", "ENOTEMPTY", "EPERM", "EXDEV")
        ],
        OUT_OF_ORDER,
    ),
    **dict.fromkeys([("open_to_write", error, "EROFS") for error in ("EISDIR", "EEXIST")], OUT_OF_ORDER),
    **dict.fromkeys([("change", "EROFS", error) for error in ("ENOTSUP", "EINVAL", "EPERM")], OUT_OF_ORDER),
    **dict.fromkeys([("attribute", DONE, error) for error in ("ENODATA", "EINVAL", "ENOTSUP")], OWN_ATTRIBUTES),
    **dict.fromkeys([("attribute", error, "ENODATA") for error in ("ENOTSUP", "EINVAL")], OWN_ATTRIBUTES),
    **dict.fromkeys([("attribute", "ENODATA", error) for error in ("ENOTSUP", "EINVAL")], OWN_ATTRIBUTES),
    ("may", "EROFS", "EACCES"): "A file that is neither writable nor executable: a mount tells the first.",
    ("control", "ENOTTY", DONE): NO_FLAGS,
}
"""Operations that may end otherwise on a mount than on a plain disk that is mounted read-only, and why."""
WITHOUT_NAME = "pyfuse3 does not know how to refuse to open a file without a name: it has no such request."
ADAPTERS_DIFFERING = {("open_to_write", "EROFS", "ENOTSUP"): WITHOUT_NAME}
"""The same for the session and pyfuse3."""


class Trees(NamedTuple):
    """The same archive through both adapters, and as plain files. `numbers` are the inode numbers told so far."""

    session: bytes
    pyfuse3: bytes
    plain: bytes
    numbers: dict[tuple[bytes, int], int]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trees]:
    home = tmp_path_factory.mktemp("operations")
    archive, plain = home / "archive", home / "plain" / "mnt"
    for name, dataset in make_tables(archive, FILES).items():
        path = archive / dataset.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FILES[name])
    shutil.copytree(archive, plain)
    for path in [plain, *plain.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    subprocess.run(["mount", "--bind", plain, plain], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", plain], check=True)
    try:
        one = Mounted(archive, home / "one", **{ADAPTER_VARIABLE: "session"})
        other = Mounted(archive, home / "two", **{ADAPTER_VARIABLE: "pyfuse3"})
        with one, other:
            yield Trees(bytes(one.path), bytes(other.path), bytes(plain), {})
    finally:
        subprocess.run(["umount", "--lazy", plain], check=True)


def answers(root: bytes, step: Step) -> Answer:
    return answer_of(step.operation, root + b"/" + step.path, root + b"/" + step.other, step.choice)


def common(answer: Answer) -> Answer:
    """The part of an answer that a plain folder gives as well."""
    return Answer({name: value for name, value in answer.items() if not name.startswith("_")})


def outcome(answer: Answer) -> str:
    return answer.get("error", DONE)


def check_adapters(trees: Trees, step: Step, *, with_times: bool = True) -> Answer:
    """What the session answers to a step, and pyfuse3 as well."""
    mine, theirs = answers(trees.session, step), answers(trees.pyfuse3, step)
    if not with_times:
        mine, theirs = (Answer({**answer, "_time": None}) for answer in (mine, theirs))
    pair = step.operation.__name__, outcome(mine), outcome(theirs)
    assert mine == theirs or pair in ADAPTERS_DIFFERING, step
    if step.operation is look and outcome(mine) == DONE:
        assert trees.numbers.setdefault((step.path, step.choice % 2), mine["_number"]) == mine["_number"], step
    return mine


def test_both_adapters_answer_as_a_plain_folder(trees: Trees) -> None:
    @settings(max_examples=N_EXAMPLES)
    @given(st.lists(IN_TREE, min_size=1, max_size=20))
    def check(steps: list[Step]) -> None:
        for step in steps:
            mine, plain = common(check_adapters(trees, step)), common(answers(trees.plain, step))
            assert mine == plain or (step.operation.__name__, outcome(mine), outcome(plain)) in FOR_DIFFERING, step

    check()


@pytest.mark.parametrize("adapter", [0, 1], ids=["session", "pyfuse3"])
def test_a_file_that_is_opened_to_read_and_append_is_only_read(trees: Trees, adapter: int) -> None:
    step = Step(open_so, f"{MADE_SESSION}/alf/a.times.npy".encode(), b"", FLAGS.index(os.O_APPEND))
    assert answers(trees[adapter], step) == answers(trees.plain, step) == {"mode": "-rw-r--r--"}


def test_both_adapters_answer_alike_below_the_control_folder(trees: Trees) -> None:
    @settings(max_examples=N_EXAMPLES)
    @given(st.lists(IN_CONTROL, min_size=1, max_size=20))
    def check(steps: list[Step]) -> None:
        for step in steps:
            check_adapters(trees, step, with_times=False)  # the folder tells when it was mounted

    check()
