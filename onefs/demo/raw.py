"""Owns the raw electrophysiology: recordings compressed as mtscomp does, one of them never stored."""

import hashlib
import io
import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Samples = NDArray[np.int16]

N_CHANNELS = 385
SAMPLE_RATE_HZ = 30_000
SAMPLE_BYTES = 2 * N_CHANNELS
SYNC_CHANNEL = N_CHANNELS - 1
NOISE_PERIOD = 4099
"""Samples after which the noise repeats: a prime, so that no two chunks of the file are alike."""

# A chunk of the large recording is a zlib stream of stored blocks: a header, blocks of one length, empty
# blocks that fill it up to CHUNK_BYTES, a checksum. So every sample's place is known without compressing.
STREAM_HEADER = b"\x78\x01"
EMPTY_BLOCK = b"\x00\x00\x00\xff\xff"
LAST_BLOCK = b"\x01\x00\x00\xff\xff"
CHECKSUM_BYTES = 4
BLOCK_SAMPLES = 85
BLOCK_PAYLOAD_BYTES = BLOCK_SAMPLES * SAMPLE_BYTES
BLOCK_HEADER = (
    b"\x00" + BLOCK_PAYLOAD_BYTES.to_bytes(2, "little") + (0xFFFF - BLOCK_PAYLOAD_BYTES).to_bytes(2, "little")
)
BLOCK_BYTES = len(BLOCK_HEADER) + BLOCK_PAYLOAD_BYTES
CHUNK_BYTES = 16 << 20
N_CHUNKS = 16
LARGE_BYTES = CHUNK_BYTES * N_CHUNKS
N_BLOCKS = (CHUNK_BYTES - len(STREAM_HEADER) - len(LAST_BLOCK) - CHECKSUM_BYTES) // BLOCK_BYTES
CHUNK_SAMPLES = N_BLOCKS * BLOCK_SAMPLES
BLOCKS_END = len(STREAM_HEADER) + N_BLOCKS * BLOCK_BYTES
N_EMPTY = (CHUNK_BYTES - CHECKSUM_BYTES - BLOCKS_END - len(LAST_BLOCK)) // len(EMPTY_BLOCK)
TAIL = EMPTY_BLOCK * N_EMPTY + LAST_BLOCK
READ_BYTES = 1 << 20


@lru_cache(maxsize=4)
def _noise(seed: int) -> Samples:
    """One period of band-limited noise with spikes on neighbouring channels; shape (samples, channels)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 6, (NOISE_PERIOD, N_CHANNELS)).astype(np.float32)
    noise += np.roll(noise, 1, axis=0)
    shape = -60 * np.exp(-0.5 * ((np.arange(40) - 12) / 4) ** 2) + 18 * np.exp(-0.5 * ((np.arange(40) - 22) / 6) ** 2)
    spread = np.exp(-0.5 * (np.arange(-8, 9) / 3) ** 2)
    for start, channel in zip(rng.integers(0, NOISE_PERIOD - 40, 60), rng.integers(8, 375, 60), strict=True):
        noise[start : start + 40, channel - 8 : channel + 9] += np.outer(shape, spread)
    noise[:, SYNC_CHANNEL] = 0
    return noise.astype("<i2")


def make_samples(seed: int, first: int, count: int) -> Samples:
    """Samples `first` to `first + count` of a recording without end, as int16 of shape (count, channels)."""
    index = np.arange(first, first + count)
    samples = _noise(seed)[index % NOISE_PERIOD]
    time_s = index / SAMPLE_RATE_HZ
    slow = 25 * np.sin(2 * np.pi * 7.3 * time_s) + 12 * np.sin(2 * np.pi * 23.7 * time_s) + 5 * np.sin(time_s)
    samples += np.round(slow).astype("<i2")[:, None]
    samples[:, SYNC_CHANNEL] = np.where(time_s % 1.0 < 0.5, 64, 0)
    return samples


@lru_cache(maxsize=64)
def _checksum(seed: int, chunk: int) -> bytes:
    """The checksum at the end of a chunk's zlib stream."""
    return zlib.adler32(make_samples(seed, chunk * CHUNK_SAMPLES, CHUNK_SAMPLES).data).to_bytes(CHECKSUM_BYTES, "big")


def _blocks(seed: int, chunk: int, first: int, count: int) -> bytes:
    """Stored blocks `first` to `first + count` of a chunk, headers included."""
    blocks = np.empty((count, BLOCK_BYTES), np.uint8)
    blocks[:, : len(BLOCK_HEADER)] = np.frombuffer(BLOCK_HEADER, np.uint8)
    samples = make_samples(seed, chunk * CHUNK_SAMPLES + first * BLOCK_SAMPLES, count * BLOCK_SAMPLES)
    blocks[:, len(BLOCK_HEADER) :] = samples.view(np.uint8).reshape(count, BLOCK_PAYLOAD_BYTES)
    return blocks.tobytes()


def _chunk_bytes(seed: int, chunk: int, start: int, stop: int) -> bytes:
    """Bytes `start` to `stop` of a chunk."""
    pieces = []
    if start < len(STREAM_HEADER):
        pieces.append(STREAM_HEADER[start:stop])
    if start < BLOCKS_END and stop > len(STREAM_HEADER):
        low = max(start - len(STREAM_HEADER), 0)
        high = min(stop, BLOCKS_END) - len(STREAM_HEADER)
        first = low // BLOCK_BYTES
        count = -(-high // BLOCK_BYTES) - first
        offset = first * BLOCK_BYTES
        pieces.append(_blocks(seed, chunk, first, count)[low - offset : high - offset])
    if stop > BLOCKS_END:
        end = TAIL + (_checksum(seed, chunk) if stop > CHUNK_BYTES - CHECKSUM_BYTES else b"")
        pieces.append(end[max(start - BLOCKS_END, 0) : stop - BLOCKS_END])
    return b"".join(pieces)


class LargeRecording(io.RawIOBase):
    """The large `.cbin` as a seekable stream: its bytes are a function of the seed and the offset alone."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._position = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """Any offset is as cheap as another."""
        return True

    def tell(self) -> int:
        """The offset of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset; beyond the end there is nothing to read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: LARGE_BYTES}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill the buffer, short only at the end of the file."""
        view = memoryview(buffer).cast("B")
        wanted = max(min(len(view), LARGE_BYTES - self._position), 0)
        done = 0
        while done < wanted:
            chunk, start = divmod(self._position, CHUNK_BYTES)
            stop = min(CHUNK_BYTES, start + min(wanted - done, READ_BYTES))
            view[done : done + stop - start] = _chunk_bytes(self._seed, chunk, start, stop)
            done += stop - start
            self._position += stop - start
        return done


@dataclass(frozen=True, slots=True)
class Recording:
    """A compressed recording: its size and digests, and the values of its `.ch` companion."""

    size_bytes: int
    md5: str
    sha1_uncompressed: str
    n_samples: int
    companion: dict[str, object]


@dataclass(slots=True)
class _Digests:
    """The running digests of a recording that is being made."""

    md5: "hashlib._Hash" = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    compressed: "hashlib._Hash" = field(default_factory=lambda: hashlib.sha1(usedforsecurity=False))
    uncompressed: "hashlib._Hash" = field(default_factory=lambda: hashlib.sha1(usedforsecurity=False))


def _describe(chunks: Iterator[tuple[bytes, bytes]]) -> Recording:
    """Digest pairs of a chunk's compressed and uncompressed bytes into a `Recording`."""
    digests = _Digests()
    offsets = [0]
    bounds = [0]
    for compressed, samples in chunks:
        digests.md5.update(compressed)
        digests.compressed.update(compressed)
        digests.uncompressed.update(samples)
        offsets.append(offsets[-1] + len(compressed))
        bounds.append(bounds[-1] + len(samples) // SAMPLE_BYTES)
    companion: dict[str, object] = {
        "version": "1.0",
        "algorithm": "zlib",
        "comp_level": -1,
        "do_time_diff": False,
        "do_spatial_diff": False,
        "dtype": "int16",
        "n_channels": N_CHANNELS,
        "sample_rate": SAMPLE_RATE_HZ,
        "chunk_bounds": bounds,
        "chunk_offsets": offsets,
        "chunk_order": "C",
        "sha1_compressed": digests.compressed.hexdigest(),
        "sha1_uncompressed": digests.uncompressed.hexdigest(),
    }
    return Recording(offsets[-1], digests.md5.hexdigest(), digests.uncompressed.hexdigest(), bounds[-1], companion)


def describe_large(seed: int) -> Recording:
    """Size, digests and companion of the large recording; makes all its bytes once."""

    def chunks() -> Iterator[tuple[bytes, bytes]]:
        for chunk in range(N_CHUNKS):
            samples = make_samples(seed, chunk * CHUNK_SAMPLES, CHUNK_SAMPLES).tobytes()
            yield _chunk_bytes(seed, chunk, 0, CHUNK_BYTES), samples

    return _describe(chunks())


def make_small(seed: int, n_samples: int, chunk_samples: int) -> tuple[bytes, Recording]:
    """A short recording, really compressed, and its description."""
    pairs = []
    for first, last in itertools.pairwise([*range(0, n_samples, chunk_samples), n_samples]):
        samples = make_samples(seed, first, last - first).tobytes()
        pairs.append((zlib.compress(samples), samples))
    return b"".join(compressed for compressed, _ in pairs), _describe(iter(pairs))
