"""A user's home for tests of `onefs setup`."""

import subprocess
from pathlib import Path

from mounted import run_onefs


class Home:
    """A user's home, with the password of the demo in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config" / "onefs"
        self.credentials = self.config / "credentials.toml"
        self.password = folder / "password"
        self.password.write_text("demo\n")
        self.password.chmod(0o600)
        self.environment = {
            "HOME": str(folder / "home"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "xdg"),
        }

    def onefs(self, *arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run one command line."""
        return run_onefs(*arguments, **self.environment, **environment)

    def answering(self, *arguments: str | Path, answers: list[str]) -> "subprocess.CompletedProcess[str]":
        """Run one command line, at no terminal, whose questions are answered by these lines."""
        return run_onefs(*arguments, answers="".join(f"{answer}\n" for answer in answers), **self.environment)

    def setup(self, url: str, *flags: str | Path) -> "subprocess.CompletedProcess[str]":
        """`onefs setup mine` by flags alone, with the right login for the database."""
        login = ("--user", "demo", "--password-file", self.password)
        return self.onefs("setup", "mine", "--url", url, *login, *flags, "--no-input")

    def saved(self) -> list[str]:
        """The files that stand beside the configuration now."""
        return sorted(path.name for path in self.config.glob("*.toml")) if self.config.exists() else []
