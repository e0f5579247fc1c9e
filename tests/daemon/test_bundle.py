"""`onefs doctor --bundle`: all that a bug report needs, nothing secret, whatever hangs."""

import base64
import json
import os
import signal
import sqlite3
import stat
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest
from archives import make_tables
from mounted import Mounted, run_onefs

from onefs.daemon import bundle
from onefs.fuse import mounting
from onefs.settings import Settings

HEX = "0123456789abcdef0123456789abcdef01234567"
# Secrets that stand in files and variables of the user, by where: they also turn up in the log, in every encoding.
KNOWN = {
    "config.toml": "pa55 of the/config+file",
    "lab.toml": "d4ta-w0rd%lab",
    "url in toml": "ur1-in-t0ml",
    "ONEFS_ALYX_TOKEN": "t0ken-in-variable",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "FwoGZXIvYXdzEXAMPLE//sess10n==",
    "aws credentials": "anotherSecret/Of+AWSabcdefghijklmnop1234",
    "aws key id": "AKIAIOSFODNN7EXAMPLE",
    "aws sso": "ss0-access-t0ken",
    "HTTPS_PROXY": "pr0xy-w0rd",
    "credentials.toml": 'k3pt "quoted" pässword',
    "credentials.toml token": "k3pt-token",
    "one alyx": "0ne-alyx-word",
    "one data": "0ne-data-word",
    "one token": "0ne-t0ken-kept",
    "password file": "w0rd-in-a-file",
    "netrc": "n3trc-w0rd",
}  # fmt: skip
# Secrets that stand in the log alone, each as programs write them.
SHAPES = {
    "X-Amz-Signature": ("s1gnature00aa11", "GET https://b.s3.amazonaws.com/x.npy?X-Amz-Algorithm=A&X-Amz-Signature={}"),
    "X-Amz-Credential": ("cr3dentialscope", "GET https://b.s3.amazonaws.com/x.npy?X-Amz-Credential={}%2F20240101 200"),
    "X-Amz-Security-Token": ("secur1ty-t0ken", '"https://b.s3.amazonaws.com/x.npy?a=b&X-Amz-Security-Token={}"'),
    "token header": (HEX, "send: Authorization: Token {}"),
    "bare token": (HEX[::-1], "the token was {} or so"),
    "basic header": (base64.b64encode(b"someone:unkn0wn").decode(), "send: b'Authorization: Basic {}'"),
    "bearer": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "with Bearer {} it"),
    "cookie": ("c00kie-value", "reply: Set-Cookie: sessionid={}; Path=/"),
    "login in url": ("l0gin-in-url", "GET https://me:{}@data.example/x failed"),
    "json": ("js0n-secret", 'payload {{"username": "me", "password": "{}"}}'),
    "form": ("f0rm-secret", "body username=me&password={}&x=1"),
    "private key": ("MIIEvQIBADANBgkqhkiG9w0", "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----"),
    "pgp": ("lQOYBGPexampleexam", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{}\n-----END PGP PRIVATE KEY BLOCK-----"),
    "github": ("ghp_abcdefghijklmnopqrstuvwxyz012345", "clone with {}"),
}  # fmt: skip
ELSEWHERE = {
    "comment": "c0mment-secret",
    "typing error": "typ0-secret",
    "broken toml": "br0ken-secret",
    "rest": "r3st-kept",
}


def forms(secret: str) -> set[str]:
    data = secret.encode()
    return {
        secret,
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        base64.b64encode(data).decode().rstrip("="),
        base64.urlsafe_b64encode(data).decode().rstrip("="),
        base64.b64encode(b"me:" + data).decode().rstrip("="),
    }


@pytest.fixture
def planted(tmp_path: Path) -> dict[str, str]:
    """A home with a secret at each place that onefs looks at; the variables of it."""
    home = tmp_path / "home"
    texts = {
        ".config/onefs/config.toml": f"alyx_password = {json.dumps(KNOWN['config.toml'])}\nopen_wait = '3s'\n"
        f"alyx_password_file = '{home}/word'\n# the old password was {ELSEWHERE['comment']}\n",
        ".config/onefs/lab.toml": f'source = "https://lab.example"\ndata_password = "{KNOWN["lab.toml"]}"\n'
        f'data_url = "https://me:{KNOWN["url in toml"]}@data.example/x"\n'
        f'alyx_pasword = "{ELSEWHERE["typing error"]}"\n',
        ".config/onefs/broken.toml": f"alyx_password = {ELSEWHERE['broken toml']}\n",
        ".config/onefs/credentials.toml": f'["lab.example"]\nuser = "me"\n'
        f"password = {json.dumps(KNOWN['credentials.toml'])}\ntoken = '{KNOWN['credentials.toml token']}'\n",
        ".one/.lab.example": json.dumps(
            {
                "ALYX_LOGIN": "me",
                "ALYX_PWD": KNOWN["one alyx"],
                "HTTP_DATA_SERVER_PWD": KNOWN["one data"],
                "TOKEN": {"me": {"token": KNOWN["one token"]}},
            }
        ),
        ".aws/credentials": f"[default]\naws_access_key_id = {KNOWN['aws key id']}\n"
        f"aws_secret_access_key = {KNOWN['aws credentials']}\n",
        ".aws/sso/cache/1.json": json.dumps({"accessToken": KNOWN["aws sso"]}),
        ".netrc": f"machine data.example\nlogin me\npassword {KNOWN['netrc']}\n",
        "word": KNOWN["password file"] + "\n",
    }
    for name, text in texts.items():
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o600)
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "ONEFS_ALYX_TOKEN": KNOWN["ONEFS_ALYX_TOKEN"],
        "AWS_SECRET_ACCESS_KEY": KNOWN["AWS_SECRET_ACCESS_KEY"],
        "AWS_SESSION_TOKEN": KNOWN["AWS_SESSION_TOKEN"],
        "HTTPS_PROXY": f"http://me:{KNOWN['HTTPS_PROXY']}@proxy.example:3128",
    }


@pytest.fixture
def mount(tmp_path: Path) -> Mounted:
    make_tables(tmp_path / "tables", {"alf/a.b.npy": b"spikes"})
    return Mounted(tmp_path / "tables", tmp_path)


def unpacked(file: Path) -> dict[str, str]:
    with tarfile.open(file) as archive:
        return {
            member.name.partition("/")[2]: stream.read().decode()
            for member in archive
            if (stream := archive.extractfile(member)) is not None
        }


def test_nothing_secret_is_in_it(mount: Mounted, planted: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "report.tar.gz"
    with mount:
        (log,) = (mount.cache / ".onefs").glob("onefs-*.log")
        with log.open("a") as stream:
            for where, secret in KNOWN.items():
                stream.writelines(f"2026-01-01 INFO {form} of {where}, ({form})\n" for form in sorted(forms(secret)))
            stream.writelines(template.format(secret) + "\n" for secret, template in SHAPES.values())
            stream.write("the last line\n")
        with sqlite3.connect(mount.cache / ".onefs/responses.sqlite") as database:
            database.execute("CREATE TABLE IF NOT EXISTS planted (answer)")
            database.execute("INSERT INTO planted VALUES (?)", [ELSEWHERE["rest"]])
        done = run_onefs("doctor", "--bundle", file, **planted)
        assert done.returncode == 0, done.stderr
    texts = unpacked(file)
    secrets = {**KNOWN, **{name: secret for name, (secret, _) in SHAPES.items()}, **ELSEWHERE}
    assert len(secrets) > 30
    for where, secret in secrets.items():
        for form in forms(secret):
            for name, text in texts.items():
                assert form not in text, f"the secret of {where} is in {name}"
            assert form not in done.stderr + done.stdout
    number = next(name for name in texts if name.endswith("/log") and "the last line" in texts[name]).split("/")[0]
    assert "of netrc" in texts[f"{number}/log"], "the lines themselves are there"
    assert 'open_wait = "3s"' in texts["configuration.txt"]
    assert "https://data.example/x" in texts["configuration.txt"]
    assert "b.s3.amazonaws.com/x.npy" in texts[f"{number}/log"]


def test_it_holds_what_a_report_needs_and_says_so(mount: Mounted, tmp_path: Path) -> None:
    file = tmp_path / "report.tar.gz"
    with mount:
        done = run_onefs("doctor", "--bundle", file)
        assert done.returncode == 0, done.stderr
        texts = unpacked(file)
        (number,) = {name.split("/")[0] for name, text in texts.items() if "health" in name and str(mount.path) in text}
        status = json.loads(texts[f"{number}/status.json"])
        assert (status["pid"], status["mountpoint"]) == (mount.pid, str(mount.path))
        assert "alive" in texts[f"{number}/health.txt"]
        assert "is mounted at" in texts[f"{number}/log"]
        assert "cache_expiry: " in texts[f"{number}/control"]
        assert str(mount.path) in texts["mountinfo.txt"]
        assert "Filesystem" in texts[f"{number}/cache.txt"]
    assert "/dev/fuse and fusermount3 are usable." in texts["doctor.txt"]
    assert "pyfuse3: 3" in texts["versions.txt"]
    assert "RLIMIT_NOFILE" in texts["limits.txt"]
    assert "Look it through before you send it" in done.stderr
    for name in texts:
        assert name in done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    again = run_onefs("doctor", "--bundle", file)
    assert again.returncode == 2
    assert again.stderr == f"onefs: {file} exists already. Give the name of a new file.\n"
    assert file.read_bytes() == before


def test_a_mount_that_hangs_is_left_out(mount: Mounted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "PART_TIMEOUT_S", 0.3)
    monkeypatch.setattr("onefs.fuse.mounting._ANSWER_S", 0.1)
    with mount:
        mine = [each for each in mounting.mounts() if each.mountpoint == mount.path]
        monkeypatch.setattr(bundle, "mounts", lambda: mine)
        os.kill(mount.pid, signal.SIGSTOP)
        try:
            bundle.write_bundle(tmp_path / "report.tar.gz", Settings(), "")
        finally:
            os.kill(mount.pid, signal.SIGCONT)
        texts = unpacked(tmp_path / "report.tar.gz")
    assert "silent" in texts["mount-1/health.txt"]
    for name in ("status.json", "errors", "log", "control"):
        assert texts[f"mount-1/{name}"].startswith("Left out: this took longer than")
    assert "onefs: " in texts["versions.txt"]


def test_variables_that_only_look_secret_spoil_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "mounts", list)
    monkeypatch.chdir(tmp_path)
    for name, value in (
        ("PWD", str(tmp_path)),
        ("XDG_SESSION_ID", "3456"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("ONEFS_CACHE_DIR", f"{tmp_path}/cache"),
        ("ONEFS_ALYX_PASWORD", "typ0-secret"),
    ):
        monkeypatch.setenv(name, value)
    bundle.write_bundle(tmp_path / "report.tar.gz", Settings(), "said 123456 false\n")
    texts = unpacked(tmp_path / "report.tar.gz")
    assert texts["doctor.txt"] == "said 123456 false\n"
    assert f"ONEFS_CACHE_DIR={tmp_path}/cache\n" in texts["environment.txt"]
    assert "ONEFS_ALYX_PASWORD=…\n" in texts["environment.txt"]


def test_what_is_too_long_is_cut_between_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "mounts", list)
    monkeypatch.setattr(bundle, "MOST_LETTERS", 20)
    monkeypatch.setattr(bundle, "_journal", lambda: "a line\nwith l0ng-secret in it\nlast line\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "l0ng-secret")
    bundle.write_bundle(tmp_path / "report.tar.gz", Settings(), "")
    assert unpacked(tmp_path / "report.tar.gz")["journal.txt"] == "…\nlast line\n"


def test_a_file_of_a_mount_that_has_no_end_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MOST_BYTES", 1000)
    (tmp_path / ".onefs").mkdir()
    (tmp_path / ".onefs/log").symlink_to("/dev/zero")
    assert bundle.said_by(mounting.Mount(tmp_path, "x", "0:99"), "log") == "\0" * 1000


def test_a_bundle_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    done = run_onefs("doctor", "--bundle", tmp_path / "nowhere/report.tar.gz")
    assert done.returncode == 1
    assert "nowhere/report.tar.gz cannot be written" in done.stderr
