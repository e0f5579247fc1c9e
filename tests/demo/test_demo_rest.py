"""The demo's Alyx: what its filters keep, and what it says to bad questions."""

from uuid import UUID

import pytest
import requests
from alyx_user import AlyxUser
from waiting import PATIENCE_S

from onefs.demo.plan import PLANS
from onefs.demo.server import DemoServer

EPHYS = str(PLANS[3].session.eid)
NOBODY = "6a1c1f6e-54f5-4c09-8d5b-3a7d1a4c1d10"


@pytest.mark.parametrize(
    ("question", "count"),
    [
        ("lab=SOUTHLAB", 6),
        ("lab=south", 0),
        ("subject=nl_001", 4),
        ("number=2", 1),
        ("projects=brainwide", 5),
        ("task_protocol=EPHYS", 5),
        ("users=member", 14),
        ("users=member,demo", 0),
        ("location=rig_south", 6),
        ("type=base", 1),
        ("tag=demowide", 5),
        ("date_range=2023-03-06,2023-03-07", 3),
        ("datasets=spikes.times.npy,_ibl_trials.table.pqt", 5),
        ("datasets=spikes.depths.npy", 4),
        ("datasets=spikes.depths.npy&dataset_qc_lte=CRITICAL", 5),
        ("dataset_types=spikes.times,camera.dlc", 5),
        ("dataset_qc_lte=PASS", 13),
        ("subject=NL_001&number=1", 3),
        ("qc=pass", 13),
        ("qc=NOT_SET", 2),
        ("histology=True", 0),
        ("histology=False", 15),
        ("atlas_acronym=CA1", 0),
        ("nothing=known", 15),
        ("django=number__isnull,True", 1),
        ("django=~number__isnull,True", 14),
        ("django=subject__nickname__icontains,nl", 9),
        ("django=start_time__date__gte,2023-04-01,lab__name,northlab", 4),
        ("django=number__in,[2, 3]", 1),
        ("django=data_dataset_session_related__name,spikes.times.npy", 5),
        ("django=data_dataset_session_related__isnull,True", 2),
        ("django=subject__nickname__regex,^NL_0", 8),
        ("django=task_protocol__startswith,_iblrig,number__gt,1", 1),
        (f"django=pk,{EPHYS}", 1),
    ],
)
def test_sessions_are_filtered(client: AlyxUser, question: str, count: int) -> None:
    assert client.get(f"sessions?{question}").json()["count"] == count


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ("sessions?date_range=2023-01-01", 500),
        ("sessions?date_range=2023-13-01,2024-01-01", 500),
        ("sessions?django=pk,none", 500),
        ("sessions?django=pk", 500),
        ("sessions?django=number,1,number,2", 500),
        ("sessions?django=number,one", 500),
        ("sessions?django=task_protocol__regex,(", 500),
        ("sessions?django=pk__in,[1", 500),
        ("sessions?dataset_qc_lte=GOOD", 500),
        ("datasets?session=none", 400),
        (f"datasets?session={NOBODY}", 400),
        (f"datasets?probe_insertion={NOBODY}", 500),
        ("datasets?probe_insertion=none", 400),
        ("insertions?session=none", 400),
        (f"sessions/{EPHYS.upper()}", 404),
        (f"sessions/{EPHYS}/", 404),
        ("labs/none", 404),
        ("docs", 404),
    ],
)
def test_bad_questions_are_told_so(client: AlyxUser, question: str, status: int) -> None:
    answer = client.get(question)
    assert answer.status_code == status
    if answer.headers["Content-Type"] == "application/json":
        assert answer.json()["status_code"] == status


def test_datasets_and_files_are_filtered(client: AlyxUser) -> None:
    assert len(client.rows(f"datasets?session={EPHYS}&dataset_type=spikes.times")) == 6
    assert {row["qc"] for row in client.rows("datasets?qc=critical")} == {"CRITICAL"}
    assert client.rows("datasets?tag=internal")[0]["protected"] == 1
    unserved = client.rows("datasets?django=file_records__data_repository__name,aws_southlab&limit=1000")
    assert [row["name"] for row in unserved if len(row["file_records"]) == 1] == ["_iblrig_leftCamera.raw.mp4"]
    (pid,) = {row["id"] for row in client.rows(f"insertions?session={EPHYS}&name=probe01")}
    of_probe = client.rows(f"datasets?probe_insertion={pid}")
    assert {row["collection"].split("/")[1] for row in of_probe} == {"probe01"}
    assert {UUID(row["url"][-36:]) for row in of_probe} == {
        UUID(row["id"]) for row in client.get(f"insertions/{pid}").json()["datasets"]
    }
    of_subject = client.rows("files?django=dataset__session__subject__nickname,NL_002&globus_is_personal=False")
    assert {row["relative_path"].split("/")[0] for row in of_subject} == {"NL_002"}


def test_a_dataset_is_where_its_record_says(client: AlyxUser, server: DemoServer) -> None:
    row = client.rows("datasets?revision=2024-05-06&limit=1")[0]
    url = next(file["data_url"] for file in row["file_records"] if file["data_repository"].startswith("server"))
    assert url.startswith(server.data_url)
    assert "/#2024-05-06#/" in url
    answer = requests.get(url.replace("#", "%23"), auth=("demo", "demo"), timeout=PATIENCE_S)
    assert len(answer.content) == row["file_size"]
    aggregate = client.rows("datasets?django=session__isnull,True")[0]
    url = next(file["data_url"] for file in aggregate["file_records"] if file["data_url"])
    assert len(requests.get(url, auth=("demo", "demo"), timeout=PATIENCE_S).content) == aggregate["file_size"]
