"""The numbers of views that are entered by name: no two views have one while the kernel may know a folder of either."""

from pathlib import Path

import pytest
from asking import a_dataset, a_session, tables_of
from hypothesis import given
from hypothesis import strategies as st

from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.errors import BusyError, NotInCatalogueError, UnreachableError
from onefs.vfs import entered, inodes
from onefs.vfs.entered import EnteredViews, Group, Numbers
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

SESSION = a_session()


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    home = tmp_path_factory.mktemp("tables")
    return load_snapshot(tables_of(home, [SESSION], [a_dataset(SESSION, "a.b.npy")]), home / "state")


def a_group(tables: Snapshot | None = None, numbers: range = range(10, 14)) -> Group:
    """Views named by whole numbers. The one called 99 cannot be made."""

    def make(name: str, number: int) -> Tree:
        if name == "99":
            raise UnreachableError("The server is away.", "Wait.")
        assert tables
        return Tree(tables, View(number), {})

    return Group("g", numbers, lambda name: int(name) if name.isdigit() else None, make, list)


def forget(numbers: Numbers, number: int, times: int = 1) -> None:
    numbers.forgot(inodes.view_root(number), times)


def test_a_view_has_the_number_that_it_wants_or_the_next_free_one() -> None:
    numbers, group = Numbers(), a_group()
    wanted = [(name, numbers.take(group, name, int(name), for_kernel=True)) for name in ("1", "5", "2", "1")]
    assert wanted == [("1", 11), ("5", 12), ("2", 13), ("1", 11)]
    assert numbers.place(12) == ("g", "5")


def test_a_number_is_free_once_the_kernel_has_forgotten_all_that_it_was_told() -> None:
    numbers, group = Numbers(), a_group()
    assert [numbers.take(group, "1", 1, for_kernel=True) for _ in range(3)] == [11, 11, 11]
    forget(numbers, 11, 2)
    assert numbers.take(group, "5", 5, for_kernel=True) == 12
    forget(numbers, 11)
    assert numbers.place(11) is None
    assert numbers.take(group, "9", 9, for_kernel=True) == 11
    numbers.forgot(4711, 1)


def test_what_is_found_for_others_than_the_kernel_keeps_its_number() -> None:
    numbers, group = Numbers(), a_group()
    assert numbers.take(group, "1", 1) == numbers.take(group, "1", 1, for_kernel=True) == 11
    forget(numbers, 11, 5)
    assert numbers.place(11) == ("g", "1")


def test_the_kernel_is_asked_to_forget_the_oldest_before_numbers_run_out() -> None:
    crowds: list[list[tuple[str, str]]] = []
    numbers, group = Numbers(crowds.append), a_group()
    numbers.take(group, "0", 0)
    for name in ("1", "2", "3"):
        numbers.take(group, name, int(name), for_kernel=True)
    assert crowds == [[("g", "1")], [("g", "2")]]
    with pytest.raises(BusyError, match="Too many views are in use in g"):
        numbers.take(group, "4", 4, for_kernel=True)
    forget(numbers, 11)
    assert numbers.take(group, "4", 4, for_kernel=True) == 11


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60))
def test_no_two_views_have_a_number_at_once(steps: list[tuple[int, bool]]) -> None:
    numbers, group = Numbers(), a_group()
    known: dict[str, int] = {}
    lookups: dict[str, int] = {}
    for wanted, looks in steps:
        name = str(wanted)
        if looks:
            try:
                number = numbers.take(group, name, wanted, for_kernel=True)
            except BusyError:
                assert len(known) == len(group.numbers)
                continue
            assert known.setdefault(name, number) == number
            lookups[name] = lookups.get(name, 0) + 1
        elif name in known:
            forget(numbers, known[name])
            lookups[name] -= 1
            if not lookups[name]:
                del known[name], lookups[name]
        assert len(set(known.values())) == len(known)
        assert {numbers.place(number) for number in known.values()} == {("g", name) for name in known}


def test_a_view_that_cannot_be_made_leaves_no_number_taken(tables: Snapshot) -> None:
    views = EnteredViews({}, Numbers())
    for _ in range(10):
        with pytest.raises(UnreachableError):
            views.enter(a_group(tables), "99", for_kernel=True)
    assert views.numbers.placed() == []
    with pytest.raises(NotInCatalogueError, match="g/x does not exist"):
        views.enter(a_group(tables), "x", for_kernel=True)


def test_a_tree_that_is_made_again_knows_what_the_kernel_saw_in_it(
    tables: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entered, "TREES_KEPT", 1)
    group = a_group(tables)
    views = EnteredViews({"g": group}, Numbers())
    first = views.enter(group, "1", for_kernel=True)
    first.session_entries(0)
    views.enter(group, "2", for_kernel=True)
    assert views.made(11) is None
    assert list(views.kept()) == [12]
    again = views.tree(11)
    assert again is not None
    assert again is not first
    assert again.looked_into == {tables.session_key(0)}
    assert again.root_ino == inodes.view_root(11)


def test_a_view_s_root_is_known_from_its_number(tmp_path: Path, tables: Snapshot) -> None:
    empty = load_snapshot(tables_of(tmp_path, [], []), tmp_path / "state")
    for catalogue in (tables, empty):
        for number in (0, 1, 1023):
            assert Tree(catalogue, View(number), {}).root_ino == inodes.view_root(number)
