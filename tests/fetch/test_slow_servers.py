"""Servers slower than slow_limit: whoever reads, first or later, gets the next server's bytes, or the failure."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from archive_and_cache import ArchiveAndCache, read
from reading_by_blocks import RULES
from servers import Fault

from onefs.catalogue.records import Dataset
from onefs.errors import TimedOutError
from onefs.fetch.access import BlockRules, Content, Patience

DATA = os.urandom(3 << 20)
SLOW = Fault(trickle_bytes=1)
QUICK = Patience(tries=1, first_pause_s=0.01, longest_pause_s=0.01, slow_window_s=0.2, settled_s=0)
"""The read time-out of the tests is long: only slow_limit ends a request that trickles."""


@pytest.mark.parametrize("rules", [BlockRules(), RULES], ids=["at once", "by blocks"])
def test_first_and_later_readers_get_the_next_servers_bytes(place: ArchiveAndCache, rules: BlockRules) -> None:
    good = place.another_server()
    dataset, other = place.add(DATA, 1), place.add(DATA[::-1], 2)
    content = place.content(patience=QUICK, blocks=rules)
    for each in (dataset, other):
        place.server.fault(place.url_path(each), SLOW)
    with ThreadPoolExecutor(2) as readers:
        first = readers.submit(read, content, dataset)
        place.server.wait_for_requests(1)
        later = readers.submit(read, content, dataset)
        assert first.result() == later.result() == DATA
    assert good.bytes_sent() < 2 * len(DATA)
    before = place.server.requests()
    assert read(content, other) == DATA[::-1]
    assert place.server.requests() == before, "a slow server is asked only if no other has the file, for a minute"


def test_where_no_other_server_is_all_readers_are_told_at_once(place: ArchiveAndCache) -> None:
    dataset = place.add(DATA)
    content = place.content(patience=QUICK)
    place.server.fault(place.url_path(dataset), SLOW)
    with ThreadPoolExecutor(2) as readers:
        first = readers.submit(_failure, content, dataset)
        place.server.wait_for_requests(1)
        later = readers.submit(_failure, content, dataset)
        assert first.result() == later.result()
        assert "sends less than slow_limit" in first.result()
    assert _failure(content, dataset) == first.result()
    assert place.server.requests() == 1


def _failure(content: Content, dataset: Dataset) -> str:
    with pytest.raises(TimedOutError) as caught:
        read(content, dataset)
    return caught.value.reason
