"""MD5 as the archive records it, and fingerprints that outlive a release."""

import hashlib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from onefs.digests import CHUNK_BYTES, digest64, md5_of_file, new_md5


def test_md5_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    for data in (b"", b"spikes", b"x" * (CHUNK_BYTES + 1)):
        (tmp_path / "file").write_bytes(data)
        digest = new_md5()
        digest.update(data)
        assert md5_of_file(tmp_path / "file") == digest.hexdigest() == hashlib.md5(data).hexdigest()


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
@settings(deadline=None)
def test_different_sequences_differ(one: list[bytes], other: list[bytes]) -> None:
    assert (digest64(one) == digest64(other)) == (one == other)


def test_fingerprints_stay_as_they_were() -> None:
    """Inode numbers are made of them, and must outlive a new version of onefs."""
    assert digest64([]) == 0xB4B2797457A0A6E4
    assert digest64([b"alf", b"spikes.times.npy"]) == 0xAFE26CE703A08A17
    assert 0 <= digest64([b"x"]) < 1 << 64
