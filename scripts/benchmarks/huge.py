"""The work `huge`: a file of which only a part is wanted, in random places or from its beginning."""

import os
import random
import shutil
import time
from pathlib import Path

from benchmarks.archive import Archive, make_sparse
from benchmarks.bench import Bench, run
from benchmarks.bulk import MIB, served_file
from benchmarks.figures import ONEFS, at_least, at_most
from benchmarks.mounts import OnefsMount
from benchmarks.nginx import Nginx

WORK = "huge"
PLACES = "random places, bytes sent to bytes read"
IN_ORDER = "read from its beginning"


def measure(bench: Bench) -> None:
    """The first byte, then random places, then in order against curl, each through a new mount with an empty cache."""
    if not bench.has("nginx", WORK):
        return
    archive = make_sparse(bench.fresh(WORK), bench.sizes.huge_gib << 30)
    with Nginx(archive.served, logs=True) as server:
        _measure_places(bench, archive, server)
        _measure_in_order(bench, archive, server)


def _measure_places(bench: Bench, archive: Archive, server: Nginx) -> None:
    sizes = bench.sizes
    first_ms, traffic, cpu_ms = [], [], []
    for _ in range(sizes.repeat):
        sent_before = server.sent_bytes()
        home = bench.fresh(WORK)
        with OnefsMount(archive.tables, home, "--data-url", server.url) as mount:
            file = mount.path / archive.datasets[0].path
            first_ms.append(_first_byte_ms(file))
            before_s = mount.cpu_s()
            _read_places(file, sizes.places, sizes.huge_gib << 30)
            cpu_ms.append((mount.cpu_s() - before_s) * 1e3 / sizes.places)
        traffic.append((server.sent_bytes() - sent_before) / (sizes.places * MIB))
        shutil.rmtree(home)
    bench.add(WORK, "first byte", ONEFS, first_ms, "ms", at_most(100), f"{sizes.huge_gib} GiB of zeros")
    bench.add(WORK, PLACES, ONEFS, traffic, "×", at_most(1.6), f"{sizes.places} times a MiB")
    bench.add(WORK, "random places, CPU each", ONEFS, cpu_ms, "ms")


def _measure_in_order(bench: Bench, archive: Archive, server: Nginx) -> None:
    """In turn with curl, both to files on the disk that are new."""
    wanted = bench.sizes.in_order_mib
    url = f"{server.url}/{served_file(archive).relative_to(archive.served)}"
    has_curl = bench.has("curl", WORK)
    rates, curl_rates, memory_mb, cpu_s = [], [], [], []
    for _ in range(bench.sizes.repeat):
        home = bench.fresh(WORK)
        os.sync()  # what was written before is not written now
        with OnefsMount(archive.tables, home, "--data-url", server.url) as mount:
            before_s = mount.cpu_s()
            rates.append(wanted * MIB / 1e6 / run(["head", "-c", f"{wanted}M", mount.path / archive.datasets[0].path]))
            cpu_s.append((mount.cpu_s() - before_s) * 1024 / wanted)
            memory_mb.append(mount.peak_mb())
        os.sync()
        if has_curl:
            command: list[str | Path] = ["curl", "-sSf", "-r", f"0-{wanted * MIB - 1}", "-o", home / "copy", url]
            curl_rates.append(wanted * MIB / 1e6 / run(command))
        shutil.rmtree(home)
    bench.add(WORK, IN_ORDER, ONEFS, rates, "MB/s", note=f"{wanted} MiB, kept on disk by both")
    if has_curl:
        bench.add(WORK, IN_ORDER, "curl -o", curl_rates, "MB/s")
        bench.add_ratio(WORK, f"{IN_ORDER}, to curl's rate", rates, curl_rates, at_least(0.6))
    bench.add(WORK, f"{IN_ORDER}, CPU a GiB", ONEFS, cpu_s, "s")
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
