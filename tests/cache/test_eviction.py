"""Which files leave the cache, for any cache there can be."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from onefs.cache.evict import Candidate, choose, surplus
from onefs.cache.usage import footprint

CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.integers(0, 1 << 32).map(lambda number: UUID(int=number)),
        st.integers(0, 1 << 40),
        st.floats(0, 2e9),
    ),
    max_size=40,
)


@given(CANDIDATES, st.integers(-10, 1 << 42))
def test_the_least_recently_used_go_until_it_is_enough(candidates: list[Candidate], wanted_bytes: int) -> None:
    chosen = choose(candidates, wanted_bytes)
    freed_bytes = sum(each.size_bytes for each in chosen)
    assert freed_bytes >= wanted_bytes or len(chosen) == len(candidates)
    if chosen:
        assert freed_bytes - chosen[-1].size_bytes < wanted_bytes, "the last one went for nothing"
        latest_s = max(each.last_use_s for each in chosen)
        stay = candidates.copy()
        for each in chosen:
            stay.remove(each)
        assert all(each.last_use_s >= latest_s for each in stay)


@given(st.integers(0, 1 << 50), st.integers(1, 1 << 50))
def test_nothing_goes_ahead_of_need_while_there_is_room(used_bytes: int, limit_bytes: int) -> None:
    goes_bytes = surplus(used_bytes, limit_bytes)
    assert 0 <= goes_bytes <= used_bytes
    assert (goes_bytes > 0) == (used_bytes > limit_bytes * 0.95)
    assert used_bytes - goes_bytes <= limit_bytes * 0.95


@given(st.integers(0, 1 << 50))
def test_a_file_takes_whole_grains_and_a_stamp(size_bytes: int) -> None:
    assert size_bytes + 4096 <= footprint(size_bytes) < size_bytes + 8192
