"""The demo's Alyx: who may ask, how often, and what may be changed."""

import pytest
import requests
from alyx_user import AlyxUser
from waiting import PATIENCE_S

from onefs.demo.logins import Throttle
from onefs.demo.plan import PLANS
from onefs.demo.resources import RestError
from onefs.demo.rows import UserRow
from onefs.demo.server import DemoServer

EPHYS = str(PLANS[3].session.eid)


def test_each_user_has_one_token_until_it_is_forgotten(server: DemoServer) -> None:
    with (
        AlyxUser(server.url).http as one,
        AlyxUser(server.url).http as two,
        AlyxUser(server.url, "member").http as other,
    ):
        assert one.headers["Authorization"] == two.headers["Authorization"] != other.headers["Authorization"]
        server.answers.logins.forget()
        answer = one.get(f"{server.url}/sessions")
        assert (answer.status_code, answer.json()["detail"]) == (403, "Invalid token.")


@pytest.mark.parametrize("header", ["Basic ZGVtbzpkZW1v", "Bearer abc", ""])
def test_what_is_no_token_is_no_login(server: DemoServer, header: str) -> None:
    answer = requests.get(f"{server.url}/sessions", headers={"Authorization": header}, timeout=PATIENCE_S)
    assert (answer.status_code, answer.json()["detail"]) == (403, "Authentication credentials were not provided.")


def test_nothing_is_known_of_passwords(client: AlyxUser) -> None:
    assert "password" not in client.get("users").text


def test_a_limit_ends_after_a_minute() -> None:
    now_s = [0.0]
    throttle = Throttle(2, clock=lambda: now_s[0])
    user = UserRow("", "demo", "", is_public=False)
    throttle.count(user)
    now_s[0] = 20.0
    throttle.count(user)
    now_s[0] = 59.5
    with pytest.raises(RestError) as refused:
        throttle.count(user)
    assert refused.value.headers == {"Retry-After": "1"}
    now_s[0] = 60.0
    throttle.count(user)


def test_a_note_on_a_file_is_kept(client: AlyxUser, server: DemoServer) -> None:
    row = client.rows("files?limit=1")[0]
    path = f"files/{row['url'][-36:]}"
    assert client.patch(path, {"json": {"mismatch_hash": True}}).ok
    assert client.get(path).json()["json"] == {"mismatch_hash": True}
    assert client.patch(path, {"exists": False}).status_code == 403
    assert client.patch(path, [1]).status_code == 400
    assert client.patch(f"sessions/{EPHYS}", {"narrative": "x"}).status_code == 403
    public = AlyxUser(server.url, "public")
    with public.http:
        assert public.patch(path, {"json": None}).status_code == 403
    assert client.get(path).json()["json"] == {"mismatch_hash": True}
