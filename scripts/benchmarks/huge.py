"""Owns the work `huge`: a file of which only a part is wanted, in random places or from its beginning."""

import os
import random
import time
from pathlib import Path

from benchmarks.archive import make_sparse
from benchmarks.bench import Bench, run
from benchmarks.bulk import MIB, served_file
from benchmarks.figures import ONEFS, at_least, at_most
from benchmarks.mounts import OnefsMount
from benchmarks.nginx import Nginx

WORK = "huge"
IN_ORDER = "read from its beginning"


def measure(bench: Bench) -> None:
    """The first byte, then random places, then in order against curl, each through a new mount with an empty cache."""
    if not bench.has("nginx", WORK):
        return
    archive = make_sparse(bench.fresh(WORK), bench.sizes.huge_gib << 30)
    (dataset,) = archive.datasets
    sizes = bench.sizes
    note = f"{sizes.huge_gib} GiB of zeros"
    first_ms, traffic, rates, curl_rates, memory_mb = [], [], [], [], []
    with Nginx(archive.served, logs=True) as server:
        url = f"{server.url}/{served_file(archive).relative_to(archive.served)}"
        for _ in range(sizes.repeat):
            before = server.sent_bytes()
            with OnefsMount(archive.tables, bench.fresh(WORK), "--data-url", server.url) as mount:
                first_ms.append(_first_byte_ms(mount.path / dataset.path))
                _read_places(mount.path / dataset.path, sizes.places, sizes.huge_gib << 30)
            traffic.append((server.sent_bytes() - before) / (sizes.places * MIB))
        for _ in range(sizes.repeat):
            home = bench.fresh(WORK)
            with OnefsMount(archive.tables, home, "--data-url", server.url) as mount:
                seconds = run(["head", "-c", f"{sizes.in_order_mib}M", mount.path / dataset.path])
                memory_mb.append(mount.peak_mb())
            rates.append(sizes.in_order_mib * MIB / 1e6 / seconds)
            if bench.has("curl", WORK):
                part = f"0-{sizes.in_order_mib * MIB - 1}"
                seconds = run(["curl", "-sSf", "-r", part, "-o", home / "copy", url])
                curl_rates.append(sizes.in_order_mib * MIB / 1e6 / seconds)
    bench.add(WORK, "first byte", ONEFS, first_ms, "ms", at_most(100), note)
    wanted = f"{sizes.places} times a MiB"
    bench.add(WORK, "random places, bytes sent to bytes read", ONEFS, traffic, "×", at_most(3), wanted)
    bench.add(WORK, IN_ORDER, ONEFS, rates, "MB/s", note=f"{sizes.in_order_mib} MiB, kept on disk by both")
    if curl_rates:
        bench.add(WORK, IN_ORDER, "curl -o", curl_rates, "MB/s")
        ratios = [ours / theirs for ours, theirs in zip(rates, curl_rates, strict=True)]
        bench.add(WORK, f"{IN_ORDER}, to curl's rate", ONEFS, ratios, "×", at_least(0.8))
    bench.add(WORK, f"{IN_ORDER}, largest resident memory", ONEFS, memory_mb, "MB")


def _first_byte_ms(file: Path) -> float:
    start = time.perf_counter()
    descriptor = os.open(file, os.O_RDONLY)
    os.pread(descriptor, 1, 0)
    elapsed = time.perf_counter() - start
    os.close(descriptor)
    return elapsed * 1e3


def _read_places(file: Path, count: int, size_bytes: int) -> None:
    places = random.Random(1)
    descriptor = os.open(file, os.O_RDONLY)
    for _ in range(count):
        os.pread(descriptor, MIB, places.randrange(size_bytes - MIB))
    os.close(descriptor)
