"""Searches, compared with a plain Python reference over random archives: tables, and what is learned beyond them."""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import folder_in_memory
from live_archive import Database, a_live
from table_shapes import RECORDED, a_dataset, a_session, an_archive, contents, load

from onefs.catalogue.learned_columns import PlainColumns
from onefs.catalogue.live import LiveSnapshot
from onefs.catalogue.matching import FEW, Expression, FileName, JoinedTexts, Part, Pattern, matching_texts
from onefs.catalogue.query import columns_of, eids_of, search
from onefs.catalogue.records import QC, Dataset, Session
from onefs.catalogue.search_columns import Texts
from onefs.catalogue.snapshot import Snapshot, load_snapshot
from onefs.catalogue.terms import Terms, terms_of

Archive = Mapping[Session, Sequence[Dataset]]

NAMES = ("KS014", "KS.14", "ks", "S-2", "é\n", "ZM_1")
PATHS = ("alf/spikes.times.npy", "spikes.times.npy", "alf/#2024-01-02#/a.b.npy", "x/é.ü.npy", "a/licks.times.npy")
PARTS = ("", "KS", "KS.1", "^ks$", "é", "npy", "spikes.times", "/", "(a|b)+", "[^a-z]", r"\d", "(?=K)", r"$", "nothing")


# -- the reference -------------------------------------------------------------------------------------------------


def expected(archive: Archive, terms: Terms) -> list[UUID]:
    found = [session for session, datasets in archive.items() if _meets(session, datasets, terms)]
    found.sort(key=lambda session: session.eid.bytes)
    found.sort(key=lambda session: (session.date, session.subject, session.number), reverse=True)
    return [session.eid for session in found]


def _meets(session: Session, datasets: Iterable[Dataset], terms: Terms) -> bool:
    def has(text: str, part: str) -> bool:
        return bool(re.search(part, text)) if terms.are_expressions else part in text

    for wanted, text in (
        (terms.subject, session.subject),
        (terms.laboratory, session.lab),
        (terms.task_protocol, session.task_protocol),
        (terms.projects, session.projects),
    ):
        if wanted is not None and not any(has(text, part) for part in wanted):
            return False
    if terms.numbers is not None and session.number not in terms.numbers:
        return False
    if not (terms.first_day or date.min) <= session.date <= (terms.last_day or date.max):
        return False
    limit = QC.FAIL if terms.qc_limit is None else terms.qc_limit
    paths = [dataset.rel_path for dataset in datasets if dataset.exists and dataset.qc <= limit]
    counts = not (terms.dataset is None and terms.datasets is None and terms.qc_limit is None)
    return (
        (bool(paths) or not counts)
        and all(any(has(path, part) for path in paths) for part in terms.dataset or ())
        and all(any(path.split("/")[-1] == name for path in paths) for name in terms.datasets or ())
    )


def found(catalogue: Snapshot | LiveSnapshot, terms: Terms) -> list[UUID]:
    rows = search(columns_of(catalogue), terms)
    assert [catalogue.session(row).eid for row in rows.tolist()] == list(
        map(UUID, eids_of(columns_of(catalogue), rows))
    )
    return [catalogue.session(row).eid for row in rows.tolist()]


# -- random archives -----------------------------------------------------------------------------------------------

days = st.integers(0, 3).map(lambda n: date(2020, 1, 2) + timedelta(n))
names = st.sampled_from(NAMES)
parts = st.sampled_from(PARTS)


@st.composite
def sessions(draw: st.DrawFn, name: str) -> Session:
    safe = st.sampled_from([each for each in NAMES if "\n" not in each])
    return a_session(
        name, draw(st.sampled_from(["laba", "labb", ""])), draw(safe), draw(days), draw(st.integers(1, 3)),
        draw(names), draw(names | st.just("")),
    )  # fmt: skip


@st.composite
def datasets(draw: st.DrawFn, session: Session | None) -> Dataset:
    path, name = draw(st.sampled_from(PATHS)), draw(st.integers(0, 2))
    return a_dataset(session, path, name, exists=draw(st.booleans()), qc=draw(st.sampled_from(QC)))


@st.composite
def archives(draw: st.DrawFn, first: int = 0) -> tuple[list[Session], list[Dataset]]:
    those = [draw(sessions(str(n))) for n in range(first, first + draw(st.integers(0, 6)))]
    files = [
        file for each in [*those, None] for file in draw(st.lists(datasets(each), max_size=4, unique_by=lambda d: d.id))
    ]
    return those, files


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    def maybe(values: st.SearchStrategy[Any]) -> Any:
        return draw(st.none() | st.none() | values)

    given = {
        **{name: maybe(st.lists(parts, max_size=2) | parts) for name in ("subject", "lab", "task", "proj", "dataset")},
        "datasets": maybe(st.lists(st.sampled_from(["spikes.times.npy", "a.b.npy", "é.ü.npy", "npy", ""]), max_size=2)),
        "number": maybe(st.lists(st.integers(0, 4)) | st.just([1 << 70, 2])),
        "date": maybe(days | st.tuples(st.none() | days, st.none() | days)),
        "dataset_qc": maybe(st.sampled_from(QC)),
    }
    return terms_of(given, wildcards=draw(st.booleans()))


@settings(max_examples=20, deadline=None)
@given(archive=archives(), asked=st.lists(terms(), min_size=1, max_size=12))
def test_it_finds_in_the_index_what_the_reference_finds(
    archive: tuple[list[Session], list[Dataset]], asked: list[Terms]
) -> None:
    with folder_in_memory() as directory:
        snapshot = load(Path(directory), *archive)
        told = contents(snapshot)
        for each in asked:
            assert found(snapshot, each) == expected(told, each)


@settings(max_examples=25, deadline=None)
@given(archives(), archives(first=2), st.booleans(), st.data())
def test_what_was_learned_takes_the_place_of_rows_of_the_index(
    tables: tuple[list[Session], list[Dataset]],
    database: tuple[list[Session], list[Dataset]],
    has_tables: bool,
    data: st.DataObject,
) -> None:
    with folder_in_memory() as directory:
        live = a_live(Database(*database), load(Path(directory), *tables) if has_tables else None)
        for _ in range(3):
            _ask_something(live, [*tables[0], *database[0]], data)
            told = _told(live)
            for each in data.draw(st.lists(terms(), min_size=1, max_size=10)):
                assert found(live, each) == expected(told, each)
                assert search(columns_of(live.silent()), each).tolist() == search(columns_of(live), each).tolist()


def _ask_something(live: LiveSnapshot, known: list[Session], data: st.DataObject) -> None:
    """List some folders, and look at the datasets of some sessions."""
    folders = [live.folder(0)]
    for folder in folders:
        if data.draw(st.booleans()):
            folders += live.folders(folder.row)
    for session in known:
        if data.draw(st.booleans()):
            row = live.find_session(session.eid)
            if row is not None and data.draw(st.booleans()):
                live.datasets(live.newest(row))


def _told(live: LiveSnapshot) -> dict[Session, list[Dataset]]:
    """All sessions in the tree, and what is known of their datasets, without asking."""
    silent = live.silent()
    told = {}
    folders = [silent.folder(0)]
    for folder in folders:
        folders += silent.folders(folder.row)
        for row in folder.sessions:
            if silent.session(row).eid.int:
                rows = silent.datasets(row)
                told[silent.session(row)] = [rows.dataset(i) for i in range(len(rows))]
    return told


def test_sessions_that_are_gone_and_datasets_that_are_others_now(tmp_path: Path) -> None:
    in_tables, new = a_session("1", number=1), a_session("2", number=2)
    files = [a_dataset(in_tables, "old.a.npy"), a_dataset(new, "new.a.npy")]
    database = Database([in_tables, new], files)
    live = a_live(database, load(tmp_path, [in_tables], files[:1]))

    def of(name: str) -> list[UUID]:
        return found(live, terms_of({"dataset": name}, wildcards=False))

    row = live.find_session(new.eid)
    assert row is not None and found(live, Terms()) == [new.eid, in_tables.eid]
    assert of("new.a") == []  # not known yet
    live.datasets(row)
    assert of("new.a") == [new.eid]
    database.all_datasets = [a_dataset(in_tables, "renamed.a.npy")]
    moved = replace(in_tables, number=3)
    database.all_sessions = [moved]
    live.expire()
    assert live.find_session(new.eid) is None and live.find_session(moved.eid) is not None
    assert found(live, Terms()) == of("old.a") == [moved.eid]  # the tables still tell its datasets
    assert found(live, Terms(numbers=(1,))) == []
    row = live.session_of_eid(moved.eid)
    assert row is not None
    live.datasets(live.newest(row))
    assert of("old.a") == of("new.a") == [] and of("renamed") == [moved.eid]


@pytest.mark.parametrize("has_tables", [True, False])
def test_columns_of_datasets_tell_what_the_catalogue_tells_whole_and_in_pieces(
    tmp_path: Path, has_tables: bool
) -> None:
    those, files = an_archive()
    files += [a_dataset(None, "subjects/x.table.pqt"), a_dataset(those[2], "x.y.npy")]
    live = a_live(Database(those, files), load(tmp_path, those[:9], files[:20]) if has_tables else None)
    for session in those[2:14:2]:
        row = live.find_session(session.eid)
        assert row is not None
        live.datasets(live.newest(row))
    columns = columns_of(live)
    told = []
    for row in np.unique(columns.dataset_session[:]).tolist():
        rows = live.silent().datasets(row) if row >= 0 and columns.eids[row].any() else ()
        told += [(row, rows.rel_paths[i], rows.exists[i], rows.qc[i], rows.id(i).bytes) for i in range(len(rows))]
    n = len(columns.dataset_session)

    def piece(begin: int, end: int) -> list[tuple[object, ...]]:
        where = slice(begin, end)
        paths = [columns.dataset_path.texts[code] for code in columns.dataset_path.codes[where].tolist()]
        ids = [one.tobytes() for one in columns.dataset_id[where]]
        numbers = (columns.dataset_session, columns.dataset_exists, columns.dataset_qc)
        session, exists, qc = (column[where].tolist() for column in numbers)
        return list(zip(session, paths, exists, qc, ids, strict=True))

    whole = piece(0, n)
    assert sorted(each for each in whole if each[0] >= 0) == sorted(told) != []
    assert all(piece(begin, end) == whole[begin:end] for begin in range(n) for end in range(begin, n + 2))


def test_order_takes_a_subject_of_the_tables_and_one_that_was_learned_for_the_same(tmp_path: Path) -> None:
    tables, learned = [a_session("1", number=1), a_session("2", number=3)], a_session("3", number=2)
    live = a_live(Database([*tables, learned], []), load(tmp_path, tables, []))
    live.find_session(learned.eid)
    assert found(live, Terms()) == [tables[1].eid, learned.eid, tables[0].eid]


def test_searches_of_the_recorded_tables() -> None:
    with folder_in_memory() as directory:
        snapshot = load_snapshot(RECORDED, Path(directory))
        told = contents(snapshot)
        for given_terms in (
            {"subject": "^KS0"}, {"date": ["2020-01-01", None]}, {"dataset": ["licks", "wheel"], "dataset_qc": "PASS"},
            {"datasets": "spikes.times.npy"}, {"lab": ["cortexlab", "mainenlab"]}, {"number": "001"}, {},
        ):  # fmt: skip
            asked = terms_of(given_terms, wildcards=True)
            assert found(snapshot, asked) == expected(told, asked) != []


# -- texts ---------------------------------------------------------------------------------------------------------

TOKENS = (
    "a", "b", "K", ".", "^", "$", "*", "+", "?", "(", ")", "(?:", "|", "[a-c]", "[^a]", "[.]", r"\w", r"\W", r"\d",
    r"\D", r"\b", r"\.", "{2}", "{1,3}", "{,2}", "??", "(?i)", "é", "ſ", " ", "_", "/", r"\s", r"\B", r"\Z", "(?=a)",
    "[[:alpha:]]", r"[\w-]", "{", "}", "]", "-", r"\n", "(?P<n>a)", r"(a)\1", "(?s)", "a{2000}", "[K-a]", r"\\",
)  # fmt: skip
SAMPLES = [
    "",
    "a",
    "b",
    "aa",
    "ab\n",
    "a\n",
    "K",
    "\u212a",
    "é",
    "ſ",
    "_a.b",
    "a-b/K9",
    "aab ab",
    "\x1c",
    "\x0b",
    "ı",
    "I]",
    "\\",
]


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
def test_each_sign_of_expressions_among_many_texts() -> None:
    for expression in TOKENS:
        with suppress(re.error):
            compiled = re.compile(expression)
            _check(Expression(expression), SAMPLES, lambda text, its=compiled: bool(its.search(text)))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=6).map("".join), st.lists(st.text("abK. \n/é_1\x0b"), max_size=5))
def test_many_texts_match_what_the_expression_module_finds(expression: str, texts: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pattern = Expression(expression)
        except re.error:
            return
    _check(pattern, [*SAMPLES, *texts], lambda text: bool(re.search(pattern.compiled, text)))


@settings(max_examples=25, deadline=None)
@given(st.text("ab./é\udc80", max_size=4), st.lists(st.text("ab./é\udc80"), max_size=9))
def test_parts_of_texts_and_names_of_files(wanted: str, texts: list[str]) -> None:
    _check(Part(wanted), [*SAMPLES, *texts], lambda text: wanted in text)
    _check(FileName(wanted), [*SAMPLES, *texts, f"a/{wanted}"], lambda path: path.split("/")[-1] == wanted)


def _check(pattern: Pattern, few: list[str], fits: Any) -> None:
    """Compare what is found among few texts, and among many, with what fits."""
    right = [fits(text) for text in few]
    assert matching_texts(few, pattern).tolist() == right
    times = FEW // len(few) + 1
    assert matching_texts(few * times, pattern).reshape(times, -1).tolist() == [right] * times
    needed = np.arange(len(few)) % 2 == 0
    assert matching_texts(JoinedTexts(few, few), pattern, np.append(needed, ~needed)).tolist() == [
        *(right * needed).tolist(), *(right * ~needed).tolist()
    ]  # fmt: skip


@pytest.mark.parametrize(
    "expression", ["KS014", "^KS0", "spikes.times", "(a+)+$", r"alf/.*\.npy$", "(?i)ks", "[^/]+/#2024", "a|b"]
)
def test_usual_expressions_need_no_loop_over_many_texts(expression: str) -> None:
    assert Expression(expression).is_same_in_re2


def test_an_expression_that_tries_many_ways_ends() -> None:
    """`re` would need years for it."""
    assert not matching_texts(["a" * 100 + "!"], Expression("(a+)+$")).any()
    assert not matching_texts(["a" * 1000 + "!"], Expression(".*a.*a.*a.*a.*a.*b")).any()


def test_code_minus_one_stands_for_no_text() -> None:
    texts = Texts(np.array([-1, 0]), ["KS"])
    none = Texts(np.empty(0, np.int32), [])
    columns = PlainColumns(
        np.eye(2, 16, dtype=np.uint8), texts, texts, texts, texts, np.zeros(2, np.int32), np.ones(2, np.uint16),
        none.codes, none, none.codes == 0, none.codes, np.empty((0, 16), np.uint8),
    )  # fmt: skip
    assert search(columns, terms_of({"projects": "^$"}, wildcards=True)).tolist() == [0]
    assert search(columns, terms_of({"projects": "KS"}, wildcards=True)).tolist() == [1]
