"""The demo's raw recordings: real zlib chunks, and the large one the same from every offset."""

import hashlib
import io
import zlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onefs.demo import raw

SEED = 3


def read_at(offset: int, size: int) -> bytes:
    with raw.LargeRecording(SEED) as stream:
        stream.seek(offset)
        return stream.read(size)


def test_chunks_decompress_to_the_samples() -> None:
    for chunk in (0, raw.N_CHUNKS - 1):
        content = read_at(chunk * raw.CHUNK_BYTES, raw.CHUNK_BYTES)
        samples = np.frombuffer(zlib.decompress(content), "<i2").reshape(-1, raw.N_CHANNELS)
        assert np.array_equal(samples, raw.make_samples(SEED, chunk * raw.CHUNK_SAMPLES, raw.CHUNK_SAMPLES))


def test_the_companion_tells_where_the_chunks_are() -> None:
    content, recording = raw.make_small(SEED, 700, chunk_samples=300)
    offsets, bounds = recording.companion["chunk_offsets"], recording.companion["chunk_bounds"]
    assert bounds == [0, 300, 600, 700]
    assert offsets[-1] == recording.size_bytes == len(content)
    assert recording.md5 == hashlib.md5(content).hexdigest()
    chunk = zlib.decompress(content[offsets[1] : offsets[2]])
    assert np.array_equal(np.frombuffer(chunk, "<i2").reshape(300, -1), raw.make_samples(SEED, 300, 300))


edges = st.sampled_from([0, raw.BLOCKS_END, raw.CHUNK_BYTES, 2 * raw.CHUNK_BYTES, raw.LARGE_BYTES])
offsets = st.integers(0, raw.LARGE_BYTES - 1) | st.builds(
    lambda edge, near: min(max(edge + near, 0), raw.LARGE_BYTES - 1), edges, st.integers(-20, 20)
)


@settings(deadline=None)
@given(offset=offsets, size=st.integers(1, 200_000), cut=st.integers(0, 200_000))
def test_any_two_parts_make_the_whole(offset: int, size: int, cut: int) -> None:
    cut = min(cut, size)
    whole = read_at(offset, size)
    assert len(whole) == min(size, raw.LARGE_BYTES - offset)
    assert read_at(offset, cut) + read_at(offset + cut, size - cut) == whole


def test_chunks_differ() -> None:
    starts = {read_at(chunk * raw.CHUNK_BYTES + 1000, 4096) for chunk in range(raw.N_CHUNKS)}
    assert len(starts) == raw.N_CHUNKS


def test_it_seeks_as_a_file_does() -> None:
    with raw.LargeRecording(SEED) as stream:
        assert stream.seekable() and stream.readable()
        assert stream.seek(-10, io.SEEK_END) == raw.LARGE_BYTES - 10
        assert len(stream.read(100)) == 10
        assert stream.read(100) == b""
        assert stream.seek(-10, io.SEEK_CUR) == stream.tell() == raw.LARGE_BYTES - 10
