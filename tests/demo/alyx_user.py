"""Owns how the demo's tests ask its Alyx: as one user, with a token."""

import requests


class AlyxUser:
    """Asks one server as one user."""

    def __init__(self, url: str, user: str = "demo", password: str | None = None) -> None:
        self.url = url
        self.http = requests.Session()
        self.http.trust_env = False
        login = {"username": user, "password": password or user}
        token = self.http.post(f"{url}/auth-token", json=login).json()["token"]
        self.http.headers["Authorization"] = f"Token {token}"

    def get(self, path: str) -> requests.Response:
        return self.http.get(f"{self.url}/{path}")

    def rows(self, path: str) -> list[dict]:
        answer = self.get(path)
        assert answer.ok, answer.text
        return answer.json()["results"]

    def patch(self, path: str, value: object) -> requests.Response:
        return self.http.patch(f"{self.url}/{path}", json=value)
