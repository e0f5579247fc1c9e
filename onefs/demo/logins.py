"""Owns who asks: passwords and tokens of users, and how often each may ask."""

import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from onefs.demo.database import Database
from onefs.demo.resources import RestError
from onefs.demo.rows import UserRow

WINDOW_S = 60.0


class Logins:
    """Tokens by user, made at the first login. For several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the tokens
        self._tokens: dict[str, str] = {}

    def token(self, db: Database, fields: Mapping[str, object]) -> str:
        """The token for a username and password. Raises `RestError` if one is missing or they are wrong."""
        missing = {name: ["This field is required."] for name in ("username", "password") if not fields.get(name)}
        if missing:
            raise RestError(400, missing)
        user = db.users.get(str(fields["username"]))
        if user is None or user.password != fields["password"]:
            raise RestError(400, {"non_field_errors": ["Unable to log in with provided credentials."]})
        with self._lock:
            return self._tokens.setdefault(user.username, secrets.token_hex(20))

    def user(self, db: Database, header: str) -> UserRow:
        """Whose token an `Authorization` header holds. Raises `RestError`, always 403."""
        scheme, *rest = header.split() or [""]
        if scheme.lower() != "token":
            raise RestError(403, {"detail": "Authentication credentials were not provided."})
        if not rest:
            raise RestError(403, {"detail": "Invalid token header. No credentials provided."})
        if len(rest) > 1:
            raise RestError(403, {"detail": "Invalid token header. Token string should not contain spaces."})
        user = db.users.get(self.name_of(header))
        if user is None:
            raise RestError(403, {"detail": "Invalid token."})
        return user

    def name_of(self, header: str) -> str:
        """The name of the user whose token an `Authorization` header holds, "" if there is none."""
        token = header.partition(" ")[2].strip()
        with self._lock:
            return next((name for name, each in self._tokens.items() if each == token), "")

    def forget(self) -> None:
        """Make every token invalid, as when a database is set up anew."""
        with self._lock:
            self._tokens.clear()


class Throttle:
    """Counts each user's requests in the last minute. For several threads at once."""

    def __init__(self, requests_per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests_per_minute = requests_per_minute
        self._clock = clock
        self._lock = threading.Lock()  # guards the times of requests
        self._asked_s: dict[str, deque[float]] = {}

    def count(self, user: UserRow) -> None:
        """Count a request. Raises `RestError`, 429, if there were too many; that one is not counted."""
        limit = self.requests_per_minute
        if limit is None:
            return
        with self._lock:
            now_s = self._clock()
            asked_s = self._asked_s.setdefault(user.username, deque())
            while asked_s and asked_s[0] <= now_s - WINDOW_S:
                asked_s.popleft()
            if len(asked_s) < limit:
                asked_s.append(now_s)
                return
            wait_s = math.ceil(WINDOW_S - (now_s - asked_s[0])) if asked_s else math.ceil(WINDOW_S)
        plural = "" if wait_s == 1 else "s"
        detail = f"Request was throttled. Expected available in {wait_s} second{plural}."
        raise RestError(429, {"detail": detail}, {"Retry-After": str(wait_s)})
