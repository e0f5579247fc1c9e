"""Logging in to and out of an Alyx database, and the tokens that are kept for it."""

import sys
from functools import partial
from getpass import getpass

from onefs.alyx import credentials as logins
from onefs.alyx import one_parameters
from onefs.alyx.client import AlyxClient
from onefs.alyx.credentials import Credentials, CredentialsFile
from onefs.errors import UsageError
from onefs.one_errors import api_errors


class LoggingIn:
    """The login of a client: who is logged in, and how to change that."""

    silent: bool
    """Whether nobody is asked for a password."""
    _client: AlyxClient

    @property
    def user(self) -> str | None:
        """The name that is logged in, None if there is none."""
        return self._client.user or None

    @property
    def is_logged_in(self) -> bool:
        """Whether there is a token, kept or from a login."""
        return self._client.is_logged_in

    @api_errors
    def authenticate(
        self,
        username: str | None = None,
        password: str | None = None,
        cache_token: bool = True,
        force: bool = False,
        token: str | None = None,
    ) -> None:
        """Log in with what is given, else with what is kept for the user; `force` asks for a new token.

        Without a password one is asked for on a terminal, unless the client is silent. With `cache_token` the token
        is kept in the user's file of logins. A login that is refused changes nothing; a token is tried by the next
        question.
        """
        client, is_given = self._client, password is not None or token is not None
        if client.is_logged_in and not (is_given or force) and username in (None, client.user):
            return
        login = Credentials(username or client.user, password or "", token or "")
        if not is_given:
            login = _kept(client.base_url, login.user, with_token=not force)
        if not login and not self.silent and sys.stdin.isatty():
            name = login.user or input(f"User of {client.base_url}: ")
            login = Credentials(name, getpass(f"Password of {name}: "))
        if not login:
            raise UsageError(
                f"There is no password or token for {client.base_url}.", "Give username and password, or token."
            )
        keep = partial(_file().keep_token, client.base_url, login.user) if cache_token else None
        client.log_in(login, keep)

    @api_errors
    def logout(self) -> None:
        """Forget the login, the token that is kept for it, and the kept answers."""
        client = self._client
        if not client.is_logged_in:
            return
        kept = _file().get(client.base_url)
        if kept.token and kept.user == client.user:
            _file().keep_token(client.base_url, client.user, "")
        client.log_out()
        client.clear_responses()


def _kept(base_url: str, user: str, *, with_token: bool) -> Credentials:
    found = logins.find(base_url, logins.credentials_file(), one_parameters.default_folder())
    if user and found.user != user:
        return Credentials(user)
    return found if with_token else Credentials(found.user, found.password)


def _file() -> CredentialsFile:
    return CredentialsFile(logins.credentials_file())
