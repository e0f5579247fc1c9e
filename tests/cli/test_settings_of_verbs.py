"""The settings of each verb: shown by group, with readable defaults, and only those that it uses."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import click
import pytest
from archives import copied_tables

from onefs.cli import main, verb_settings
from onefs.cli.options import SettingOption
from onefs.demo.server import DemoServer
from onefs.settings import Group, Settings, table

USED = {
    "search": verb_settings.SEARCH,
    "list": verb_settings.LIST,
    "info": verb_settings.INFO,
    "fetch": verb_settings.FETCH,
    "describe": verb_settings.DESCRIBE,
    "doctor": verb_settings.DOCTOR,
}
SECRETS = {entry.key for entry in table() if entry.secret}
KEYS = {entry.name: entry.key for entry in table()}


def options_of(verb: str) -> set[str]:
    command = main.onefs.get_command(click.Context(main.onefs), verb)
    assert command is not None
    return {str(each.name) for each in command.params if isinstance(each, SettingOption)}


class Observed(Settings):
    """Settings that note which of them are looked at, other than to copy them all."""

    looked_at: ClassVar[set[str]] = set()

    def __getattribute__(self, name: str) -> Any:
        if name in KEYS and sys._getframe(1).f_globals["__name__"] != "dataclasses":
            Observed.looked_at.add(KEYS[name])
        return super().__getattribute__(name)


@pytest.fixture(scope="module")
def demo(demo_archive: Path) -> Iterator[DemoServer]:
    with DemoServer(demo_archive) as running:
        yield running


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch, home: Path) -> set[str]:
    monkeypatch.setattr("onefs.configuration.Settings", Observed)
    monkeypatch.setattr(Observed, "looked_at", set())
    monkeypatch.setenv("ONEFS_ALYX_USER", "demo")
    monkeypatch.setenv("ONEFS_ALYX_PASSWORD", "demo")
    return Observed.looked_at


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("search", ["number=1", "--source"]),
        ("list", ["labs", "--source"]),
        ("info", ["https://example.org/a_lab/Subjects/s/2020-01-01/001/alf/x.y.npy", "--source"]),
        ("fetch", ["*", "--dry-run", "--source"]),
        ("describe", ["revisions", "--source"]),
        ("doctor", ["--allow-other", "off"]),
    ],
)
def test_a_verb_looks_at_every_setting_that_it_offers(
    verb: str, words: list[str], demo: DemoServer, looked_at: set[str], tmp_path: Path
) -> None:
    tables = copied_tables(tmp_path)
    for source, more in ((demo.url, []), (str(tables), ["--data-url", "s3://a-bucket/x"])):
        if verb != "describe" or not more:
            main.run([verb, *words, source, "--cache-dir", str(tmp_path / "cache"), *more])
    assert options_of(verb) == USED[verb] - SECRETS
    assert options_of(verb) - looked_at == set()


@pytest.mark.parametrize(
    ("verb", "flag"),
    [
        ("search", "--block-size"),
        ("search", "--qc"),
        ("list", "--verify"),
        ("info", "--max-transfers"),
        ("describe", "--tag"),
        ("doctor", "--record"),
        ("fetch", "--allow-other"),
        ("replay", "--as-of"),
        ("replay", "--qc"),
        ("replay", "--ignore-qc-not-set"),
        ("replay", "--report-mismatch"),
        ("demo", "--data-url"),
    ],
)
def test_a_setting_that_a_verb_ignores_is_an_unknown_option(
    verb: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run([verb, flag, "1"]) == 2
    said = capsys.readouterr().err
    assert "No such option" in said
    assert flag in said


def test_a_mount_uses_every_setting() -> None:
    assert options_of("mount") == verb_settings.ALL - SECRETS == {entry.key for entry in table()} - SECRETS
    assert all(
        keys <= verb_settings.ALL
        for keys in (*USED.values(), verb_settings.SETUP, verb_settings.REPLAY, verb_settings.DEMO)
    )


def test_the_help_of_mount_is_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["mount", "--help"])
    said = capsys.readouterr().out
    titles = re.findall(r"^(\w[\w ]*):$", said, re.MULTILINE)
    assert titles == ["Options", *(group.value for group in Group)]
    cache = said.partition("\nCache:\n")[2].partition("\n\n")[0]
    assert "--cache-dir PATH" in cache
    assert "--verify auto|strict|warn|off" in cache


@pytest.mark.parametrize(
    "words",
    [
        "--whole-file-max SIZE [default: 64M]",
        "--cache-expiry DURATION [default: 24h]",
        "--open-wait DURATION [default: 2s]",
        "--http-dl-threads N [default: 4]",
        "--file-mode OCTAL [default: 0644]",
        "--cache-rest on|off [default: on]",
        "--data-url URL",
        "SIZE is a number of bytes",
        "DURATION is a number of seconds",
    ],
)
def test_help_says_forms_and_readable_defaults(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["mount", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    begin, bracket, end = words.partition(" [")
    assert re.search(re.escape(begin) + r"[^\[]*" + re.escape(bracket.strip() + end), said)


def test_help_explains_only_the_forms_that_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["describe", "--help"])
    said = capsys.readouterr().out
    assert "DURATION is" in said
    assert "SIZE is" not in said
