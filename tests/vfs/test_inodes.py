"""Inode numbers: what goes in comes out, nothing collides, and order does not matter."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onefs.catalogue.layout import MAX_SESSION_FOLDERS
from onefs.vfs import inodes
from onefs.vfs.inodes import Decoded, Kind

views = st.integers(0, (1 << inodes.VIEW_BITS) - 1)
sessions = st.integers(0, (1 << inodes.SESSION_BITS) - 1)
files = st.integers(0, (1 << inodes.FILE_BITS) - 1)
collections = st.integers(0, (1 << inodes.COLLECTION_BITS) - 1)
folders = st.integers(0, (1 << inodes.FOLDER_BITS) - 1)
digests = st.integers(0, (1 << 64) - 1)
quick = settings(deadline=None)


@given(views, sessions, files, collections, folders, digests)
@quick
def test_numbers_decode_to_what_they_were_made_of(
    view: int, session: int, file: int, collection: int, folder: int, digest: int
) -> None:
    assert inodes.decode(inodes.file_ino(session, file)) == Decoded(Kind.FILE, 0, session)
    assert inodes.decode(inodes.collection_ino(view, session, collection)) == Decoded(Kind.COLLECTION, view, session)
    assert inodes.decode(inodes.folder_ino(view, folder)) == Decoded(Kind.FOLDER, view, folder)
    special = inodes.special_ino(digest)
    assert inodes.decode(special) == Decoded(Kind.SPECIAL, 0, special)
    link = inodes.link_ino(digest)
    assert inodes.decode(link) == Decoded(Kind.LINK, 0, link)


@given(views, sessions, files, collections, folders, digests)
@quick
def test_only_folders_belong_to_a_view(
    view: int, session: int, file: int, collection: int, folder: int, digest: int
) -> None:
    assert inodes.view_of(inodes.collection_ino(view, session, collection)) == view
    assert inodes.view_of(inodes.folder_ino(view, folder)) == view
    others = (inodes.file_ino(session, file), inodes.special_ino(digest), inodes.link_ino(digest), inodes.ROOT)
    assert [inodes.view_of(other) for other in others] == [None] * 4


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just(inodes.file_ino), sessions, files),
            st.tuples(st.just(inodes.collection_ino), views, sessions, collections),
            st.tuples(st.just(inodes.folder_ino), views, folders),
        ),
        unique=True,
    )
)
@quick
def test_different_things_have_different_numbers(things: list[tuple]) -> None:
    numbers = [make(*parts) for make, *parts in things]
    assert len(set(numbers)) == len(numbers)
    assert all(64 < number < 1 << 63 for number in numbers)  # the low ones are the root's and its special files'


def test_the_greatest_parts_do_not_spill_into_each_other() -> None:
    top = [(1 << bits) - 1 for bits in (inodes.VIEW_BITS, inodes.SESSION_BITS, inodes.FILE_BITS)]
    numbers = [
        inodes.file_ino(top[1], top[2]),
        inodes.collection_ino(top[0], top[1], (1 << inodes.COLLECTION_BITS) - 1),
        inodes.folder_ino(top[0], (1 << inodes.FOLDER_BITS) - 1),
        inodes.special_ino((1 << 64) - 1),
        inodes.link_ino((1 << 64) - 1),
    ]
    assert [inodes.decode(number).kind for number in numbers] == list(Kind)


@given(st.lists(st.integers(0, 3).map(lambda low: low << 60 | 5) | digests, max_size=30))
@quick
def test_fingerprints_are_distinct_even_where_digests_collide(content: list[int]) -> None:
    for make, bits in (
        (inodes.file_fingerprints, inodes.FILE_BITS),
        (inodes.collection_fingerprints, inodes.COLLECTION_BITS),
    ):
        numbers = make(list(content))
        assert len(set(numbers)) == len(content)
        assert all(0 <= number < 1 << bits for number in numbers)
        assert list(make(list(content))) == list(numbers)


@given(st.lists(digests, max_size=8, unique_by=lambda digest: digest & (1 << inodes.COLLECTION_BITS) - 1))
@quick
def test_without_collisions_a_fingerprint_depends_on_nothing_else(content: list[int]) -> None:
    alone = {digest: inodes.file_fingerprints([digest])[0] for digest in content}
    for order in itertools.islice(itertools.permutations(content), 24):
        assert list(inodes.file_fingerprints(list(order))) == [alone[digest] for digest in order]


def test_more_nodes_than_numbers_are_refused() -> None:
    assert len(set(inodes.collection_fingerprints([7] * (1 << inodes.COLLECTION_BITS)))) == 1 << inodes.COLLECTION_BITS
    with pytest.raises(ValueError, match="want different numbers"):
        inodes.collection_fingerprints([7] * ((1 << inodes.COLLECTION_BITS) + 1))


def test_there_are_numbers_for_all_folders_that_the_catalogue_lets_in() -> None:
    assert 2 * MAX_SESSION_FOLDERS <= 1 << inodes.COLLECTION_BITS


@given(st.lists(st.integers(0, 63), max_size=64))
@quick
def test_whoever_comes_late_has_the_next_number_that_is_free_then(wanted: list[int]) -> None:
    taken: list[int] = []
    for number in wanted:
        while number in taken:
            number = (number + 1) % 64
        taken.append(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inodes, "FILE_BITS", 6)
        assert inodes.file_fingerprints(wanted).tolist() == taken


def test_collisions_at_the_last_number_go_on_at_the_first() -> None:
    last = (1 << inodes.FILE_BITS) - 1
    assert inodes.file_fingerprints([last, last, 0]).tolist() == [last, 0, 1]


@given(digests, digests)
@quick
def test_what_a_number_leaves_out_is_in_the_generation(one: int, other: int) -> None:
    used = inodes.FILE_BITS + 31
    same = one & (1 << used) - 1 == other & (1 << used) - 1
    told = [(inodes.file_fingerprints([digest]).tolist(), inodes.generation(digest)) for digest in (one, other)]
    assert (told[0] == told[1]) == same
