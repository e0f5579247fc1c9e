"""A look at copies that somebody asks for: what decayed on the disk goes, whatever its stamp says."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from archive_and_cache import ArchiveAndCache, read

from onefs.cache.store import ContentStore
from onefs.cache.verify import Signature
from onefs.catalogue.records import Dataset
from onefs.daemon.orders import Orders
from onefs.errors import BusyError, OfflineError
from onefs.fetch.access import Content, OpenFile, Patience, State, Verify
from onefs.fetch.copies import Outcome
from onefs.modes import Mode

DATA = bytes(range(256)) * 100


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[ArchiveAndCache]:
    with ArchiveAndCache(tmp_path) as archive:
        yield archive


def verify(content: Content, dataset: Dataset) -> tuple[Outcome, str]:
    outcome, error = content.keeping.verify(dataset, lambda size_bytes: None)
    return outcome, str(error or "")


def decay(archive: ArchiveAndCache, dataset: Dataset) -> None:
    """Change bytes as a failing disk does, for whoever opens the cache from now on: `stat` tells nothing."""
    with archive.file(dataset).open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"\xff\xfe\xfd")
    with closing(ContentStore(archive.cache, archive.cache / ".onefs")) as store:
        stamp = store.state.stamp(dataset.id)
        assert stamp is not None
        store.state.put(dataset, replace(stamp, signature=Signature.of(archive.file(dataset).stat())))


def test_a_decayed_file_goes_and_is_fetched_again(archive: ArchiveAndCache) -> None:
    dataset = archive.add(DATA)
    content = archive.content()
    assert verify(content, dataset) == (Outcome.ABSENT, "")
    assert read(content, dataset) == DATA
    assert verify(content, dataset) == (Outcome.RIGHT, "")
    content.flush()
    decay(archive, dataset)
    content = archive.content()
    assert content.inspect(dataset).state is State.VERIFIED  # nothing but a hash can tell
    outcome, sentence = verify(content, dataset)
    assert outcome is Outcome.MOVED
    assert dataset.md5 in sentence
    assert not archive.file(dataset).exists()
    assert len(archive.quarantined()) == 1
    inspection = content.inspect(dataset)
    assert (inspection.state, inspection.error) == (State.QUARANTINED, sentence)
    assert [str(error) for _, error in archive.failures] == [sentence]
    assert read(content, dataset) == DATA
    assert content.inspect(dataset).state is State.VERIFIED


def test_a_verified_file_is_still_one_that_onefs_fetched(archive: ArchiveAndCache) -> None:
    dataset = archive.add(DATA)
    content = archive.content()
    read(content, dataset)
    assert verify(content, dataset)[0] is Outcome.RIGHT
    assert content.inspect(dataset).source
    assert content.keeping.evict(dataset) >= len(DATA)
    assert not archive.file(dataset).exists()


def test_what_others_put_there_is_stamped_or_moved_away(archive: ArchiveAndCache) -> None:
    right, wrong = archive.add(DATA, 1), archive.add(DATA[::-1], 2)
    for dataset in (right, wrong):
        archive.put_in_cache(dataset, DATA)
    content = archive.content()
    assert content.inspect(right).state is State.CACHED
    assert verify(content, right)[0] is Outcome.RIGHT
    assert content.inspect(right).state is State.VERIFIED
    assert verify(content, wrong)[0] is Outcome.MOVED
    assert archive.quarantined() == [DATA]


@pytest.mark.parametrize("how", [{"is_cache": False}, {"may_displace": False}])
def test_in_a_folder_of_the_users_own_nothing_is_moved(archive: ArchiveAndCache, how: dict[str, bool]) -> None:
    dataset = archive.add(DATA)
    file = archive.put_in_cache(dataset, DATA[::-1])
    content = archive.content(**how)
    outcome, sentence = verify(content, dataset)
    assert outcome is Outcome.WRONG
    assert str(file) in sentence
    assert file.read_bytes() == DATA[::-1]


def test_what_the_catalogue_has_no_hash_of_is_held_against_its_first_fetch(archive: ArchiveAndCache) -> None:
    dataset = archive.add(DATA, md5="")
    content = archive.content()
    read(content, dataset)
    assert verify(content, dataset)[0] is Outcome.HASHED
    content.flush()
    decay(archive, dataset)
    outcome, sentence = verify(content, dataset)
    assert outcome is Outcome.MOVED
    assert "when it came" in sentence


def test_under_warn_what_differs_stays_but_what_decayed_goes(archive: ArchiveAndCache) -> None:
    differing, sound = archive.add(DATA, 1, md5="0" * 32), archive.add(DATA, 2)
    content = archive.content(verify=Verify.WARN)
    for dataset in (differing, sound):
        assert read(content, dataset) == DATA
    assert verify(content, differing)[0] is Outcome.WRONG
    assert content.inspect(differing).state is State.MISMATCH
    assert read(content, differing, may_fetch=False) == DATA
    content.flush()
    decay(archive, sound)
    assert verify(content, sound)[0] is Outcome.MOVED
    assert read(content, sound) == DATA


def test_a_file_that_may_be_unfinished_is_left_alone(archive: ArchiveAndCache) -> None:
    dataset = archive.add(DATA)
    file = archive.put_in_cache(dataset, DATA[:-1])
    content = archive.content(patience=Patience(settled_s=3600))
    with pytest.raises(BusyError, match="may still be writing"):
        content.keeping.verify(dataset, lambda size_bytes: None)
    assert file.read_bytes() == DATA[:-1]


def test_what_leaves_the_cache_while_it_is_pinned_comes_again(
    archive: ArchiveAndCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes room, in this process or another, looks for pins before it removes."""
    dataset = archive.add(DATA)
    content = archive.content()
    read(content, dataset)
    opened = content.open
    leaving = iter([archive.file(dataset)])

    def open_and_evict(dataset: Dataset, *, may_fetch: bool) -> OpenFile:
        file = opened(dataset, may_fetch=may_fetch)
        for path in leaving:
            path.unlink()
        return file

    monkeypatch.setattr(content, "open", open_and_evict)
    done = (
        Orders(content, lambda: Mode.AUTO, fetches_at_once=4, has_server=True)
        .pin(["/"], lambda: iter([dataset]))
        .act(dataset)
    )
    assert (done.word, done.moved_bytes) == ("fetched", len(DATA))
    assert archive.file(dataset).read_bytes() == DATA
    assert content.keeping.is_pinned(dataset)


def test_a_look_that_is_not_wanted_any_more_ends_at_once(archive: ArchiveAndCache) -> None:
    dataset = archive.add(DATA)
    content = archive.content()
    read(content, dataset)
    recorded: list[str] = []
    orders = Orders(
        content, lambda: Mode.AUTO, lambda path, error: recorded.append(path), fetches_at_once=4, has_server=True
    )
    work = orders.verify(["/"], lambda: iter([dataset]))
    assert work.act(dataset).word == "verified"
    work.stop()
    with pytest.raises(OfflineError):
        work.act(dataset)
    assert recorded == []
    assert content.inspect(dataset).state is State.VERIFIED
