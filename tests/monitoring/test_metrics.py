"""The metrics of an archive that is not mounted: their names, their documentation, and what reads them."""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from archives import make_tables
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from onefs.archive.archive import Archive
from onefs.archive.opening import opened
from onefs.catalogue.records import Dataset
from onefs.daemon.jobs import Jobs
from onefs.errors import UnreachableError
from onefs.fuse.counters import Counters
from onefs.monitoring.measuring import Measurement
from onefs.monitoring.metrics import Measured, Metrics
from onefs.recording.processes import Caller
from onefs.recording.program_usage import Programs
from onefs.recording.recorder import Recorder
from onefs.settings import Settings
from onefs.vfs.prefetching import Prefetching

ROOT = Path(__file__).parents[2]
HELP = ROOT / "onefs" / "help" / "metrics.md"
UNITS = ROOT / "systemd"
PROMTOOL = shutil.which("promtool")
NAME = re.compile(r"\b(?:onefs|process)_[a-z_]+")
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\|", re.MULTILINE)


@pytest.fixture
def parts(home: Path) -> Iterator[Measured]:
    """Those of a folder behind a server that does not answer, with a limit of the cache."""
    make_tables(home / "tables", {"alf/a.x.npy": b"spikes"})
    settings = Settings(cache_dir=home / "cache", data_url="http://127.0.0.1:9", cache_size=1 << 20)
    with opened(str(home / "tables"), settings) as source:
        archive = Archive(source, settings)
        archive.refresher.checked_s = 1.5e9
        prefetching = Prefetching(archive.content, 64, 64 << 20)
        yield Measured(home / "mnt", archive, Counters(), Jobs(), Recorder("", md5_of), Programs(), prefetching)
        archive.close()


def md5_of(dataset: Dataset, edition: object) -> str:
    del edition
    return dataset.md5


def families(parts: Measured) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(Metrics(parts).text())}


def values(parts: Measured, name: str) -> dict[tuple[str, ...], float]:
    """Values by the labels' values."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in families(parts).values()
        for sample in family.samples
        if sample.name == name
    }


def series_of(registry: CollectorRegistry) -> set[str]:
    """The names that a query may ask for."""
    return {sample.name for family in registry.collect() for sample in family.samples}


def test_every_metric_is_documented(parts: Measured) -> None:
    documented = {name: (kind, labels) for name, kind, labels in ROW.findall(HELP.read_text())}
    exported = {}
    for family in families(parts).values():
        if not family.name.startswith("onefs_"):
            continue
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        exported[family.name + suffix] = (family.type, labels)
    assert set(documented) == set(exported)
    for name, (kind, labels) in exported.items():
        assert documented[name][0] == kind, name
        if labels:
            assert set(re.findall(r"`(\w+)`", documented[name][1])) == labels, name


def test_names_are_as_prometheus_wants_them(parts: Measured) -> None:
    for family in families(parts).values():
        assert family.documentation, family.name
        assert family.name.startswith(("onefs_", "process_"))
        assert not re.search(r"_(ms|milliseconds|kb|mb|percent|count|sum|bucket|total)$", family.name)
        if family.type == "counter":
            assert {sample.name for sample in family.samples} <= {f"{family.name}_total"}


def test_the_dashboard_and_the_alerts_use_metrics_that_exist(parts: Measured) -> None:
    parts.archive._outages.failed("http://127.0.0.1:9", UnreachableError("It is down."), 60)
    parts.counters.answered("open", 0.0, 5)
    exported = series_of(Metrics(parts).registry)
    dashboard = json.loads((UNITS / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries += [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    assert len(queries) > 20
    alerts = (UNITS / "prometheus-alerts.yml").read_text()
    for query in [*queries, *re.findall(r"^ *expr: (.*)$", alerts, re.MULTILINE)]:
        names = set(NAME.findall(query))
        assert names or query.startswith("up{")
        assert names <= exported, query


def test_every_panel_has_its_own_place() -> None:
    dashboard = json.loads((UNITS / "grafana-dashboard.json").read_text())
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.skipif(PROMTOOL is None, reason="promtool, of Debian's package prometheus, is not installed")
def test_promtool_accepts_the_alerts() -> None:
    assert PROMTOOL is not None
    subprocess.run([PROMTOOL, "check", "rules", UNITS / "prometheus-alerts.yml"], check=True)


def test_what_is_on_a_disk_that_does_not_answer_is_left_out(parts: Measured) -> None:
    assert values(parts, "onefs_disk_responding") == {(): 1}
    assert values(parts, "onefs_cache_limit_bytes") == {(): 1 << 20}
    shutil.rmtree(parts.archive.source.data_dir)
    found = families(parts)
    assert found["onefs_disk_responding"].samples[0].value == 0
    assert not any(name.startswith(("onefs_cache_", "onefs_tables_")) for name in found)
    assert "onefs_request_duration_seconds" in found


def test_a_server_known_by_two_schemes_is_one_series(parts: Measured) -> None:
    for scheme in ("http", "https"):
        parts.archive._outages.failed(f"{scheme}://127.0.0.1:9", UnreachableError("It is down."), 60)
    assert list(values(parts, "onefs_server_outage_seconds")) == [("data", "127.0.0.1:9")]


def test_a_login_in_the_source_is_not_told(parts: Measured) -> None:
    parts.archive.source = replace(parts.archive.source, name="https://me:secret@data.lab/ONE?token=secret")
    assert values(parts, "onefs_mount_info") == {(str(parts.mountpoint), "https://data.lab/ONE"): 1}


def test_names_that_are_no_text_are_written_all_the_same(parts: Measured) -> None:
    odd = replace(parts, mountpoint=Path("/mnt/\udcff"))
    odd.programs.opened(Caller(None, 'a\n"\udcff', 0), is_fetched=True)
    assert list(values(odd, "onefs_mount_info")) == [("/mnt/\\xff", odd.archive.source.name)]
    assert values(odd, "onefs_program_fetched_files_total") == {('a\\n"\\xff',): 1, ("others",): 0}


def test_a_measurement_that_hangs_is_not_waited_for_and_not_begun_again() -> None:
    begun, may_end = [], threading.Event()

    def measure() -> int:
        begun.append(1)
        may_end.wait()
        return 7

    hanging = Measurement(measure, longest_s=0.0)
    assert [hanging.take(), hanging.take()] == [None, None]
    may_end.set()
    patient = Measurement(measure, longest_s=60.0)
    assert patient.take() == 7
    assert len(begun) == 2


def test_a_measurement_that_fails_gives_nothing_and_a_fault_of_ours_is_raised() -> None:
    def fails() -> int:
        raise PermissionError

    def is_wrong() -> int:
        raise ZeroDivisionError

    assert Measurement(fails, longest_s=60.0).take() is None
    with pytest.raises(ZeroDivisionError):
        Measurement(is_wrong, longest_s=60.0).take()


def test_a_mount_does_not_load_the_library_before_it_is_needed() -> None:
    program = "import sys, onefs.daemon.running; sys.exit('prometheus_client' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
