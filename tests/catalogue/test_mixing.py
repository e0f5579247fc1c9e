"""Numbers made of ids and texts: found again, all different, and the same whatever else there is."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onefs.catalogue.layout import Strings
from onefs.catalogue.mixing import distinct_keys, find_ids, order_of_ids, take_free, text_digests

# Few different bytes, so that ids often share their first half.
IDS = st.builds(lambda first, last: bytes([first]) * 8 + bytes([last]) * 8, st.integers(0, 3), st.integers(0, 3))


def as_rows(ids):
    return np.frombuffer(b"".join(ids), np.uint8).reshape(-1, 16)


@given(st.lists(IDS))
def test_ids_are_sorted_by_their_bytes_and_equal_ones_keep_their_order(ids):
    order = order_of_ids(as_rows(ids)).tolist()
    assert order == sorted(range(len(ids)), key=lambda at: (ids[at], at))


@given(st.lists(IDS), st.sets(IDS))
def test_ids_are_found_where_they_are(ids, among):
    ordered = sorted(among)
    found = find_ids(as_rows(ids), as_rows(ordered)).tolist()
    assert found == [ordered.index(one) if one in among else -1 for one in ids]


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 20), max_size=16))
def test_keys_are_distinct_and_whoever_comes_first_has_what_it_wants(wanted):
    keys = distinct_keys(np.array(wanted, np.uint64), 4).tolist()
    assert len(set(keys)) == len(keys)
    assert all(key < 16 for key in keys)
    low = [number % 16 for number in wanted]
    for at, key in enumerate(low):
        assert keys[at] == key or key in low[:at]


@given(st.lists(st.integers(0, 15), max_size=16))
def test_a_free_number_is_the_next_that_nobody_took(wanted):
    following, taken = {}, set()
    for number in wanted:
        free = next(at & 15 for at in range(number, number + 16) if at & 15 not in taken)
        assert take_free(number, following, 15) == free
        taken.add(free)


@given(st.lists(st.text(max_size=40), unique=True))
def test_a_texts_digest_depends_on_its_bytes_alone(texts):
    column = Strings.of(texts)
    digests = text_digests(column.offsets, column.data).tolist()
    assert len(set(digests)) == len(texts)
    for text, digest in zip(texts, digests, strict=True):
        alone = Strings.of([text])
        assert text_digests(alone.offsets, alone.data).tolist() == [digest]
    assert [column[row] for row in range(len(column))] == texts
