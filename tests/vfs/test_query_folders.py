"""Folders of searches below .onefs/query, and saved searches."""

import gc
import itertools
import posixpath
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from asking import a_dataset, a_session, tables_of

from onefs.archive.saved_searches import SavedSearches
from onefs.archive.searches import Searches
from onefs.catalogue.interface import Catalogue
from onefs.catalogue.records import QC
from onefs.catalogue.snapshot import load_snapshot
from onefs.digests import digest64
from onefs.errors import BadTermError, CacheDamagedError, GoneError, NotInCatalogueError, UsageError
from onefs.vfs import inodes
from onefs.vfs.forest import Forest
from onefs.vfs.nodes import Directory, Link
from onefs.vfs.patterns import datasets_of
from onefs.vfs.queries import Queries, QueryFolder, QueryFolders
from onefs.vfs.tree import Tree
from onefs.vfs.views import View

NEW = a_session("lab", "mouse_1", "2024-05-06", 2)
OLD = a_session("lab", "mouse_1", "2020-01-31", 1)
ELSEWHERE = a_session("other", "mouse_1", "2020-01-31", 1)
RAT = a_session("other", "rat", "2021-07-08", 1)
DATASETS = [
    a_dataset(NEW, "alf/spikes.times.npy"),
    a_dataset(OLD, "alf/spikes.times.npy", qc=QC.CRITICAL),
    a_dataset(OLD, "alf/probe00/spikes.amps.npy"),
    a_dataset(RAT, "alf/wheel.position.npy"),
]


@pytest.fixture
def tables(tmp_path: Path) -> Catalogue:
    return load_snapshot(tables_of(tmp_path, [NEW, OLD, ELSEWHERE, RAT], DATASETS), tmp_path / "state")


@pytest.fixture
def forest(tables: Catalogue, tmp_path: Path) -> Forest:
    return a_forest(tables, tmp_path)


def a_forest(tables: Catalogue, home: Path) -> Forest:
    control = Directory(2, inodes.ROOT, ".onefs", ".onefs", 0)
    queries = Queries(control, Searches(lambda: tables, home / "state"))
    return Forest(Tree(tables, View(), {}), control, {}, {}, queries=queries)


def links(forest: Forest, query: str) -> dict[str, str]:
    """Names of the links in a folder, and the paths that they lead to."""
    folder = f".onefs/query/{query}"
    found = {}
    for node in forest.listed(forest.find(folder).ino)[1]:
        assert isinstance(node, Link)
        found[node.name] = posixpath.normpath(posixpath.join(folder, node.target))
    return found


@pytest.mark.parametrize(
    ("query", "sessions"),
    [
        ("subject=mouse", [NEW, OLD, ELSEWHERE]),
        ("subject=^rat$", [RAT]),
        ("subject=rat|mouse", [NEW, RAT, OLD, ELSEWHERE]),
        ("lab=other", [RAT, ELSEWHERE]),
        ("lab=other/subj=mouse", [ELSEWHERE]),
        ("date=2020-01-31", [OLD, ELSEWHERE]),
        ("date=2020-02-01..", [NEW, RAT]),
        ("date=..2021-07-08/date=2020-01-31", None),
        ("number=2", [NEW]),
        ("dataset=spikes.times", [NEW]),
        ("dataset=spikes.times/dataset_qc_lte=CRITICAL", [NEW, OLD]),
        ("dataset=probe00%2Fspikes", [OLD]),
        ("dataset=spikes/dataset=wheel", []),
    ],
)
def test_a_folder_holds_links_to_the_sessions_that_meet_its_terms(forest: Forest, query: str, sessions) -> None:
    if sessions is None:
        with pytest.raises(BadTermError, match="given twice"):
            forest.find(f".onefs/query/{query}")
        return
    found = links(forest, query)
    assert sorted(found.values()) == sorted(session.path for session in sessions)
    days = [path.split("/")[-2] for path in found.values()]
    assert days == sorted(days, reverse=True)
    for name, path in found.items():
        link = forest.find(f".onefs/query/{query}/{name}")
        assert isinstance(link, Link)
        assert forest.node(link.ino) == link or "@" in name
        assert forest.find(path).path == path


def test_a_link_is_called_by_its_reference_and_by_the_lab_too_where_several_have_it(forest: Forest) -> None:
    assert list(links(forest, "subject=mouse")) == ["2024-05-06_2_mouse_1", "2020-01-31_1_mouse_1@lab",
                                                    "2020-01-31_1_mouse_1@other"]  # fmt: skip
    assert list(links(forest, "lab=other/subject=mouse")) == ["2020-01-31_1_mouse_1"]
    for name in ("2020-01-31_1_mouse_1", "2020-01-31_1_mouse_1@no", "2021-07-08_1_rat"):
        with pytest.raises(NotInCatalogueError):
            forest.find(f".onefs/query/subject=mouse/{name}")


def test_the_top_lists_the_terms_and_what_has_no_value_is_empty(forest: Forest) -> None:
    top = [node.name for node in forest.listed(forest.find(".onefs/query").ino)[1]]
    assert {"lab=", "subject=", "date=", "dataset=", "saved"} <= set(top)
    for name in top:
        assert links(forest, name) == {}
    assert links(forest, "lab=/subject=rat") == links(forest, "subject=rat")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("subjekt=KS", "There is no search term 'subjekt'"),
        ("da=2020", "may mean"),
        ("date=yesterday", "is no date"),
        ("number=one", "is no session number"),
        ("subject=(", "is no regular expression"),
        ("KS014", "is no term"),
    ],
)
def test_a_bad_term_is_absent_with_a_sentence(forest: Forest, name: str, sentence: str) -> None:
    with pytest.raises(BadTermError, match=sentence):
        forest.find(f".onefs/query/{name}")


def test_no_number_stands_for_two_things(forest: Forest) -> None:
    folders = [
        ".onefs/query",
        *(f".onefs/query/{term}" for term in ("subject=mouse", "lab=lab", "subject=mouse/lab=lab")),
    ]
    nodes = [forest.find(folder) for folder in folders]
    nodes += itertools.chain(*(forest.listed(node.ino)[1] for node in nodes))
    assert len({node.ino for node in nodes}) == len({node.path for node in nodes})
    for node in nodes:
        assert forest.node(node.ino).ino == node.ino
    with pytest.raises(GoneError):
        forest.node(inodes.query_link_ino(12345, 1))


def test_folders_whose_digests_end_alike_have_links_of_their_own(forest: Forest) -> None:
    seen: dict[int, str] = {}
    for number in range(1 << 23):
        path = f".onefs/query/subject=x{number}|mouse"
        other = seen.setdefault(digest64([path.encode()]) & (1 << inodes.QUERY_BITS) - 1, path)
        if other != path:
            break
    listed = [forest.listed(forest.find(each).ino)[1] for each in (path, other)]
    inos = [link.ino for links_in in listed for link in links_in]
    assert len(set(inos)) == len(inos) == 6
    for folder, links_in in zip((path, other), listed, strict=True):
        assert {posixpath.dirname(forest.node(link.ino).path) for link in links_in} == {folder}


def test_a_folder_that_is_let_go_shares_no_number_with_those_that_are_kept() -> None:
    folders = QueryFolders(2)
    made = [QueryFolder(ino, 1, "", path, 0) for ino, path in ((7, "a"), (8, "b"), (7, "c"), (9, "d"))]
    assert folders.add(made[0]) is made[0]
    assert folders.add(made[1]) is made[1]
    assert folders.add(QueryFolder(7, 1, "", "a", 0)) is made[0]
    assert folders.add(made[2]) is made[2]
    assert made[2].ino not in (7, 8)
    assert folders.of_ino(8) is folders.of_number(made[1].number) is None
    assert folders.of_number(made[0].number) is folders.of_ino(7) is made[0]
    folders.add(made[3])
    assert folders.of_ino(made[2].ino) is None
    assert len({made[0].number, made[2].number, made[3].number}) == 3


def test_only_folders_are_searched(forest: Forest) -> None:
    """What is asked about a link is answered at once, without a thread."""
    folder = forest.find(".onefs/query/subject=mouse")
    asked = [(node.ino, forest.may_ask(node.ino)) for node in (folder, *forest.listed(folder.ino)[1])]
    assert [may_ask for _, may_ask in asked] == [True, False, False, False]
    assert all(isinstance(forest.node(ino), Link) for ino, _ in asked[1:])


def test_what_is_below_a_query_are_the_datasets_of_its_sessions(forest: Forest) -> None:
    found = [dataset.path for dataset in datasets_of(forest, ".onefs/query/subject=mouse")]
    assert found == [DATASETS[0].path, DATASETS[2].path]


@pytest.mark.parametrize("pattern", [".onefs/query", ".onefs/query/saved", ".onefs/query/saved/*",
                                     ".onefs/query/saved/*/*", ".onefs/query/**"])  # fmt: skip
def test_a_session_that_several_links_lead_to_counts_once(forest: Forest, tmp_path: Path, pattern: str) -> None:
    saved = SavedSearches(tmp_path / "state")
    saved.save("all", [], [NEW.eid, RAT.eid])
    saved.save("mice", [], [NEW.eid])
    assert sorted(dataset.path for dataset in datasets_of(forest, pattern)) == [DATASETS[0].path, DATASETS[3].path]


def test_a_saved_search_keeps_what_was_found(forest: Forest, tmp_path: Path) -> None:
    saved = SavedSearches(tmp_path / "state")
    assert saved.names() == []
    saved.save("my mice", ["subject=mouse"], [NEW.eid, OLD.eid])
    assert saved.read("my mice").words == ("subject=mouse",)
    assert [node.name for node in forest.listed(forest.find(".onefs/query/saved").ino)[1]] == ["my mice"]
    assert list(links(forest, "saved/my mice").values()) == [NEW.path, OLD.path]
    assert len(list(datasets_of(forest, ".onefs/query/saved/my mice"))) == 2
    folder = forest.find(".onefs/query/saved/my mice")
    saved.forget("my mice")
    with pytest.raises(NotInCatalogueError):
        forest.find(".onefs/query/saved/my mice")
    with pytest.raises(GoneError):
        forest.listed(folder.ino)
    with pytest.raises(NotInCatalogueError, match="Saved are: none"):
        saved.forget("my mice")


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "a=b", "a\nb", "n" * 201])
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be saved as"):
        SavedSearches(tmp_path).save(name, [], [])
    assert SavedSearches(tmp_path).read(name) is None


def test_a_search_of_other_terms_is_replaced_only_if_told_so(tmp_path: Path) -> None:
    saved = SavedSearches(tmp_path)
    saved.save("mine", ["subject=mouse", "lab=lab"], [NEW.eid])
    with pytest.raises(UsageError, match="Another search is saved as mine: subject=mouse lab=lab") as caught:
        saved.save("mine", ["subject=rat"], [RAT.eid])
    assert "--clobber" in caught.value.remedy
    assert saved.read("mine").eids == (NEW.eid,)
    saved.save("mine", ["lab=lab", "subject=mouse"], [OLD.eid])
    assert saved.read("mine").eids == (OLD.eid,)
    saved.save("mine", ["subject=rat"], [RAT.eid], clobber=True)
    assert saved.read("mine").words == ("subject=rat",)


def test_what_is_listed_as_saved_can_be_looked_up(tmp_path: Path) -> None:
    saved = SavedSearches(tmp_path)
    saved.save("one", [], [NEW.eid])
    for name in ("a=b.json", "a\nb.json", ".hidden.json", "one.json.0123.tmp", "\udcff.json"):
        (tmp_path / "searches" / name).write_text("{}")
    assert saved.names() == ["one"]


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"terms": [], "eids": [], "saved": 1' + "0" * 400 + "}"])
def test_a_damaged_saved_search_is_told(tmp_path: Path, text: str) -> None:
    saved = SavedSearches(tmp_path)
    saved.save("one", [], [NEW.eid])
    next((tmp_path / "searches").iterdir()).write_text(text)
    with pytest.raises(CacheDamagedError, match="is damaged"):
        saved.read("one")
    saved.save("one", ["subject=rat"], [RAT.eid])
    assert saved.read("one").eids == (RAT.eid,)


def test_a_link_whose_subject_has_an_equals_sign_is_found(tmp_path: Path) -> None:
    odd = a_session("lab", "dose=2", "2024-05-06", 2)
    forest = a_forest(load_snapshot(tables_of(tmp_path, [odd], []), tmp_path / "state"), tmp_path)
    assert list(links(forest, "subject=dose")) == ["2024-05-06_2_dose=2"]
    assert isinstance(forest.find(".onefs/query/subject=dose/2024-05-06_2_dose=2"), Link)


def test_links_lead_where_the_tables_say_now_and_the_old_tables_are_let_go(tmp_path: Path) -> None:
    moved = replace(RAT, lab="lab")
    tables = [
        load_snapshot(tables_of(tmp_path / name, [session], []), tmp_path / "state")
        for name, session in (("old", RAT), ("new", moved))
    ]
    control = Directory(2, inodes.ROOT, ".onefs", ".onefs", 0)
    queries = Queries(control, Searches(lambda: tables[0], tmp_path / "state"))
    folder = queries.child(queries.root, "subject=rat")
    (link,) = queries.listed(folder)
    saved = SavedSearches(tmp_path / "state")
    saved.save("rats", [], [RAT.eid])
    saved_folder = queries.child(queries.child(queries.root, "saved"), "rats")
    assert len(queries.listed(saved_folder)) == 1
    old = weakref.ref(tables.pop(0))
    assert queries.node(link.ino).target.endswith(moved.path)
    assert queries.child(folder, link.name).target.endswith(moved.path)
    assert queries.child(saved_folder, link.name).target.endswith(moved.path)
    gc.collect()
    assert old() is None


def test_a_saved_search_is_read_once_until_it_is_saved_anew(tables: Catalogue, tmp_path: Path) -> None:
    saved = SavedSearches(tmp_path / "state")
    searches = Searches(lambda: tables, tmp_path / "state")
    saved.save("mine", [], [NEW.eid, OLD.eid])
    found = searches.saved("mine")
    assert searches.saved("mine") is found
    saved.save("mine", [], [RAT.eid])
    assert [tables.session(row).eid for row in searches.saved("mine").rows.tolist()] == [RAT.eid]
    saved.forget("mine")
    assert searches.saved("mine") is None


@pytest.mark.parametrize("word", ["dataset=(?=(\\w+)+$)", "subject=(\\w+)+\\Z"])
def test_an_expression_that_may_take_for_ever_is_refused(forest: Forest, word: str) -> None:
    with pytest.raises(BadTermError, match="might not end"):
        forest.find(f".onefs/query/{word}")
