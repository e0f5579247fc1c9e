"""The metrics of a real mount agree with what was done in it, and Prometheus's own parsers read them."""

import errno
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import MADE_SESSION, make_tables, on_servers
from mounted import Mounted, run_onefs
from prometheus_client import parser as text_parser
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from servers import Fault, FaultServer, free_port
from waiting import wait_until

FIRST, SECOND, LOST = "alf/spikes.times.npy", "alf/spikes.amps.npy", "alf/spikes.depths.npy"
FILES = {FIRST: b"times" * 3000, SECOND: b"amps" * 1000, LOST: b"depths" * 10}
LIMIT_BYTES = 1 << 30
Values = dict[tuple[str, frozenset[str]], float]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def mount(tmp_path: Path, port: int) -> Iterator[Mounted]:
    datasets = make_tables(tmp_path / "tables", FILES)
    with FaultServer() as server:
        for name, dataset in datasets.items():
            server.put(on_servers(dataset), FILES[name])
        server.fault(on_servers(datasets[LOST]), Fault(status=404))
        flags = ("--data-url", server.url, "--remote-names", "uuid", "--cache-size", "1G")
        flags += ("--passthrough", "off", "--metrics-listen", str(port))
        with Mounted(tmp_path / "tables", tmp_path, *flags) as mount:
            yield mount


def path(mount: Mounted, name: str) -> Path:
    return mount.path / MADE_SESSION / name


def values_in(families: "Iterator[Metric]") -> Values:
    """By name and labels."""
    return {
        (sample.name, frozenset(f"{key}={value}" for key, value in sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def read(mount: Mounted) -> Values:
    return values_in(openmetrics_parser.text_string_to_metric_families((mount.path / ".onefs/metrics").read_text()))


def value(values: Values, name: str, *labels: str) -> float:
    return values[name, frozenset(labels)]


def sum_of(values: Values, name: str) -> float:
    """The sum of all series of a name."""
    return sum(number for (other, _), number in values.items() if other == name)


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return str(answer.read().decode())


def test_metrics_agree_with_what_was_done(mount: Mounted) -> None:
    session = path(mount, "")
    assert subprocess.run(["cat", path(mount, FIRST)], capture_output=True, check=True).stdout == FILES[FIRST]
    assert run_onefs("fetch", path(mount, SECOND)).returncode == 0
    before = read(mount)
    assert path(mount, SECOND).read_bytes() == FILES[SECOND]
    for _ in range(2):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            path(mount, LOST).read_bytes()
    for name in ("x", "y", "z"):
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            (session / name).mkdir()
    values = read(mount)

    assert value(values, "onefs_read_bytes_total", "source=network") == len(FILES[FIRST])
    assert value(values, "onefs_read_bytes_total", "source=cache") == len(FILES[SECOND])
    assert value(values, "onefs_read_bytes_total", "source=memory") == 0
    assert value(before, "onefs_read_bytes_total", "source=cache") == 0
    assert value(values, "onefs_opened_files_total", "cache=hit") == 1
    assert value(values, "onefs_opened_files_total", "cache=miss") == 2
    assert value(values, "onefs_fetched_files_total") == 2
    assert value(values, "onefs_fetched_bytes_total") == len(FILES[FIRST]) + len(FILES[SECOND])
    assert value(values, "onefs_program_opened_files_total", "program=cat") == 1
    assert value(values, "onefs_program_fetched_files_total", "program=cat") == 1
    assert value(values, "onefs_program_read_bytes_total", "program=cat") == len(FILES[FIRST])
    assert sum_of(values, "onefs_program_read_bytes_total") == len(FILES[FIRST]) + len(FILES[SECOND])
    assert value(values, "onefs_fetch_failures_total", "kind=missing") == 1
    assert value(values, "onefs_fetch_failures_total", "kind=mismatch") == 0
    assert value(values, "onefs_request_errors_total", "operation=open", "errno=EIO") == 2
    assert value(values, "onefs_request_errors_total", "operation=modify", "errno=EROFS") == 3
    assert value(values, "onefs_request_duration_seconds_count", "operation=modify") == 3
    assert value(values, "onefs_request_duration_seconds_bucket", "operation=modify", "le=+Inf") == 3
    assert value(values, "onefs_request_duration_seconds_sum", "operation=modify") > 0
    assert value(values, "onefs_requests_in_progress") == 1  # the one that opens the metrics
    assert value(values, "onefs_server_requests_total", "role=data") == mount.status()["requests"]["data"]
    assert value(values, "onefs_server_requests_total", "role=database") == 0
    assert value(values, "onefs_transfers_in_progress") == 0
    assert value(values, "onefs_disk_responding") == 1
    assert value(values, "onefs_tables_datasets") == len(FILES)
    assert value(values, "onefs_tables_sessions") == 1
    assert value(values, "onefs_mount_info", f"source={mount.source}", f"mountpoint={mount.path}") == 1
    assert value(values, "process_start_time_seconds") > value(values, "onefs_tables_created_timestamp_seconds")
    # One more bucket for each bound, none of which holds fewer than the one before.
    buckets = [
        number
        for (name, labels), number in values.items()
        if name == "onefs_request_duration_seconds_bucket" and "operation=open" in labels
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == value(values, "onefs_request_duration_seconds_count", "operation=open")


def test_metrics_show_the_cache_and_the_modes(mount: Mounted) -> None:
    path(mount, FIRST).read_bytes()
    wait_until(lambda: read(mount).get(("onefs_cache_files", frozenset())) == 1, "the cache is counted")
    assert run_onefs("pin", path(mount, SECOND)).returncode == 0
    assert run_onefs("record", "on", "--mount", mount.path).returncode == 0
    values = read(mount)
    assert value(values, "onefs_cache_used_bytes") >= len(FILES[FIRST]) + len(FILES[SECOND])
    assert value(values, "onefs_cache_files") == 2
    assert value(values, "onefs_cache_limit_bytes") == LIMIT_BYTES
    assert value(values, "onefs_cache_pinned_files") == 1
    assert value(values, "onefs_cache_evicted_files_total") == 0
    assert value(values, "onefs_mode", "kind=effective", "mode=auto") == 1
    assert value(values, "onefs_recording") == 1
    assert run_onefs("evict", path(mount, FIRST)).returncode == 0
    assert run_onefs("mode", "local", mount.path).returncode == 0
    values = read(mount)
    assert value(values, "onefs_cache_files") == 1
    assert value(values, "onefs_cache_evicted_files_total") == 1
    assert value(values, "onefs_cache_evicted_bytes_total") >= len(FILES[FIRST])
    modes = {labels: number for (name, labels), number in values.items() if name == "onefs_mode"}
    assert {labels for labels, number in modes.items() if number} == {
        frozenset({"kind=requested", "mode=local"}),
        frozenset({"kind=effective", "mode=local"}),
    }
    assert len(modes) == 8


def test_scrapers_get_the_same_until_the_mount_ends(mount: Mounted, port: int) -> None:
    path(mount, FIRST).read_bytes()
    text = scraped(port)
    values = values_in(text_parser.text_string_to_metric_families(text))
    assert value(values, "onefs_read_bytes_total", "source=network") == len(FILES[FIRST])
    assert {name for name, _ in values} == {name for name, _ in read(mount)}
    promtool = shutil.which("promtool")  # of Debian's package prometheus
    if promtool is not None:
        checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    mount.stop()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass


def test_a_port_that_is_taken_is_told_as_it_is_mounted(tmp_path: Path) -> None:
    make_tables(tmp_path / "tables", FILES)
    (tmp_path / "mnt").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        words = (tmp_path / "tables", tmp_path / "mnt", "--cache-dir", tmp_path / "cache", "--metrics-listen", address)
        done = run_onefs("mount", *words)
    assert done.returncode == 1
    assert f"The metrics cannot be served at {address}: Address already in use. Choose another port" in done.stderr
    assert not os.path.ismount(tmp_path / "mnt")
