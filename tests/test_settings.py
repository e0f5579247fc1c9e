"""Settings: where they come from, which wins, what is refused and in which words."""

from pathlib import Path

import pytest

from onefs import settings
from onefs.alf import RemoteNames
from onefs.configuration import config_file, merge
from onefs.errors import UsageError
from onefs.modes import Mode
from onefs.setting_values import Address, duration_s, listen_address
from onefs.settings import Settings, settings_text, table

SECRET = "correct-horse"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_without_anything_the_defaults_are_in_force(file: Path) -> None:
    assert merge({}, {}, file) == Settings()


def test_flags_over_environment_over_file_over_default(file: Path) -> None:
    file.write_text('qc = "PASS"\nlog = "debug"\nverify = "warn"\n')
    environment = {"ONEFS_QC": "WARNING", "ONEFS_LOG": "error", "PATH": "/bin", "XONEFS_QC": "BAD"}
    merged = merge({"qc": "CRITICAL"}, environment, file)
    assert (merged.qc, merged.log, merged.verify, merged.max_transfers) == ("CRITICAL", "error", "warn", 256)


def test_a_source_s_own_file_stands_between_environment_and_configuration(file: Path) -> None:
    file.write_text('qc = "PASS"\nlog = "debug"\nverify = "warn"\n')
    named = file.with_name("mine.toml")
    named.write_text('source = "https://alyx.example"\nqc = "WARNING"\nlog = "error"\n')
    merged = merge({}, {"ONEFS_LOG": "info"}, file, named)
    assert (merged.qc, merged.log, merged.verify) == ("WARNING", "info", "warn")
    file.write_text('source = "https://alyx.example"\n')
    with pytest.raises(UsageError, match=r"source in .* is not a setting"):
        merge({}, {}, file)


def test_the_number_of_parts_that_one_knows_is_honoured(file: Path) -> None:
    file.write_text("http_dl_threads = 2\n")
    assert merge({}, {"ONE_HTTP_DL_THREADS": "7"}, file).http_dl_threads == 7
    assert merge({}, {"ONE_HTTP_DL_THREADS": "7", "ONEFS_HTTP_DL_THREADS": "3"}, file).http_dl_threads == 3
    with pytest.raises(UsageError, match="ONE_HTTP_DL_THREADS in the environment cannot be 'x'"):
        merge({}, {"ONE_HTTP_DL_THREADS": "x"}, file)


def test_the_date_that_one_knows_is_honoured(file: Path) -> None:
    assert merge({}, {"ONE_REVISION_LAST_BEFORE": "2024-04-01"}, file).as_of == "2024-04-01"
    assert merge({"as_of": "none"}, {"ONE_REVISION_LAST_BEFORE": "2024-04-01"}, file).as_of == ""
    assert merge({}, {"ONE_REVISION_LAST_BEFORE": "b/2 %"}, file).as_of == "b/2 %"
    with pytest.raises(UsageError, match=r"ONE_REVISION_LAST_BEFORE in the environment cannot be 'a\\nb'"):
        merge({}, {"ONE_REVISION_LAST_BEFORE": "a\nb"}, file)
    file.write_text("as_of = 2024-04-01\n")
    assert merge({}, {}, file).as_of == "2024-04-01"


VALUES = {
    "cache_dir": ("/some/where", Path("/some/where")),
    "uuid_filenames": ("on", True),
    "mode": ("LOCAL", Mode.LOCAL),
    "tag": ("2024_Q2", "2024_Q2"),
    "alyx_user": ("me", "me"),
    "alyx_password": (SECRET, SECRET),
    "alyx_password_file": ("/secret", Path("/secret")),
    "alyx_token": (SECRET, SECRET),
    "data_url": ("https://example.org/data", "https://example.org/data"),
    "remote_names": ("Plain", RemoteNames.PLAIN),
    "data_user": ("me", "me"),
    "data_password": (SECRET, SECRET),
    "data_password_file": ("/secret", Path("/secret")),
    "view": ("Default", "default"),
    "as_of": (" 2024-02-29", "2024-02-29"),
    "qc": ("warning", "WARNING"),
    "ignore_qc_not_set": ("on", True),
    "verify": ("strict", "strict"),
    "whole_file_max": ("1G", 1 << 30),
    "block_size": ("1 MiB", 1 << 20),
    "read_ahead_max": ("0", 0),
    "http_dl_threads": ("8", 8),
    "cache_size": ("500G", 500 << 30),
    "cache_min_free": ("20G", 20 << 30),
    "trust_cache": ("on", True),
    "open_wait": ("500ms", 0.5),
    "cache_expiry": ("12h", 43200.0),
    "connect_timeout": ("2m", 120.0),
    "read_timeout": ("1.5h", 5400.0),
    "slow_limit": ("64K", 64 << 10),
    "refresh_jitter": ("5m", 300.0),
    "refresh_interval": ("5m", 300.0),
    "cache_rest": ("off", False),
    "default_expiry": ("1h", 3600.0),
    "retry_max": ("5s", 5.0),
    "report_mismatch": ("on", True),
    "s3_endpoint": ("http://localhost:9000", "http://localhost:9000"),
    "s3_region": ("eu-west-2", "eu-west-2"),
    "s3_profile": ("lab", "lab"),
    "prefetch": ("OFF", "off"),
    "connections": ("8", 8),
    "max_transfers": ("12", 12),
    "crawl_warn": ("0", 0),
    "crawl_limit": ("2000", 2000),
    "proxy": ("http://proxy:3128", "http://proxy:3128"),
    "record": ("yes", True),
    "metrics_listen": ("[::1]:9100", Address("::1", 9100)),
    "control_dir": ("Visible", "visible"),
    "dir_mode": ("0750", 0o750),
    "file_mode": ("0o600", 0o600),
    "allow_other": ("yes", True),
    "run_as": ("onefs", "onefs"),
    "kernel_adapter": ("Session", "session"),
    "passthrough": ("OFF", "off"),
    "log": (" DEBUG, transports=Warning", "debug,transports=warning"),
    "log_format": ("JSON", "json"),
}


@pytest.mark.parametrize("entry", table(), ids=lambda entry: entry.key)
def test_every_setting_is_understood_from_everywhere(entry: settings.Entry, file: Path) -> None:
    text, value = VALUES[entry.key]
    assert value != entry.default
    assert getattr(merge({entry.key: text}, {}, file), entry.name) == value
    assert getattr(merge({}, {f"ONEFS_{entry.key.upper()}": text}, file), entry.name) == value
    file.write_text(f'{entry.key} = "{text}"\n')
    file.chmod(0o600)
    assert getattr(merge({}, {}, file), entry.name) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2", 2),
        ("2s", 2),
        (" 2 s ", 2),
        ("0", 0),
        ("500ms", 0.5),
        ("1.5m", 90),
        ("5min", 300),
        ("24h", 86400),
        ("7d", 604800),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


REFUSED = {
    "cache_dir": ["", "~no-such-user-here/cache", "a\0b"],
    "data_password_file": [""],
    "mode": ["", "offline", "localauto"],
    "view": ["", "as-of"],
    "remote_names": ["", "uuids"],
    "dir_mode": ["", "755", "0855", "01777", "0666", "0355", "rwxr-xr-x", "-0755"],
    "file_mode": ["", "420", "0o1644", "0044", "u=rw"],
    "as_of": ["", " ", "a\nb", "\udcff"],
    "qc": ["", "BAD", "40"],
    "ignore_qc_not_set": ["NOT_SET"],
    "verify": ["yes"],
    "whole_file_max": ["", "-1", "1.5M", "large", "1P", "9" * 20],
    "block_size": ["0", "1", "1G", "64 blocks"],
    "read_ahead_max": ["far", "-1"],
    "http_dl_threads": ["0", "many"],
    "cache_size": ["", "-1", "half", "50%"],
    "cache_min_free": ["-1", "some"],
    "trust_cache": ["some"],
    "open_wait": ["", "soon", "-1", "2 weeks", "1e3", "nan", "inf", "9" * 400, "400d", "٣"],
    "cache_expiry": ["", "soon", "-1"],
    "connect_timeout": ["0", "0ms", "soon"],
    "read_timeout": ["0"],
    "slow_limit": ["", "-1", "64K/s"],
    "refresh_interval": ["", "soon"],
    "cache_rest": ["maybe"],
    "default_expiry": ["soon"],
    "retry_max": ["soon"],
    "report_mismatch": ["perhaps"],
    "prefetch": ["on"],
    "connections": ["0", "auto"],
    "max_transfers": ["", "0", "-1", "1.5", "many", "²", "9" * 5000],
    "crawl_warn": ["", "-1", "off", "1.5", "9" * 5000],
    "record": ["all"],
    "control_dir": ["on"],
    "allow_other": ["", "maybe", "2"],
    "kernel_adapter": ["", "libfuse"],
    "passthrough": ["on"],
    "log": ["loud", "info,nothing=debug", "info=debug"],
    "log_format": ["xml"],
}


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, texts in REFUSED.items() for text in texts])
def test_a_value_that_cannot_be_is_refused_with_what_can(key: str, text: str, file: Path) -> None:
    with pytest.raises(UsageError) as refused:
        merge({key: text}, {}, file)
    assert f"--{key.replace('_', '-')} in the command line cannot be {text!r}" in refused.value.reason
    assert refused.value.remedy.startswith("Give ")
    with pytest.raises(UsageError, match=f"ONEFS_{key.upper()} in the environment"):
        merge({}, {f"ONEFS_{key.upper()}": text}, file)


@pytest.mark.parametrize(
    ("near", "meant"), [("open_wiat", "open_wait"), ("cachedir", "cache_dir"), ("max_transfer", "max_transfers")]
)
def test_an_unknown_name_gets_the_nearest(near: str, meant: str, file: Path) -> None:
    with pytest.raises(UsageError, match=f"ONEFS_{near.upper()} in the environment.*ONEFS_{meant.upper()}"):
        merge({}, {f"ONEFS_{near.upper()}": "1"}, file)
    file.write_text(f"{near} = 1\n")
    with pytest.raises(UsageError, match=f"{near} in {file}.*Did you mean {meant}"):
        merge({}, {}, file)


def test_an_unknown_name_near_to_none_gets_all(file: Path) -> None:
    with pytest.raises(UsageError) as refused:
        merge({}, {"ONEFS_ZZZ": "1"}, file)
    assert all(entry.key in refused.value.remedy for entry in table())


@pytest.mark.parametrize("key", ["DATA_PASSWORD_", "DATA_PASWORD", "PASSWORD", "ZZZ"])
def test_no_message_shows_a_secret(key: str, file: Path) -> None:
    with pytest.raises(UsageError) as refused:
        merge({}, {f"ONEFS_{key}": SECRET}, file)
    assert SECRET not in str(refused.value)
    for text in (f'data_password = "{SECRET}\n', f'data_password = ["{SECRET}"]', f'[data_password]\nx = "{SECRET}"'):
        file.write_text(text)
        with pytest.raises(UsageError) as refused:
            merge({}, {}, file)
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize("login", ["me:hush", "me:hu@hush", "me:hush@", "hush"])
def test_no_login_in_an_address_is_among_the_settings_that_are_shown(login: str, file: Path) -> None:
    given = {"data_url": f"https://{login}@data.example/x", "s3_endpoint": f"http://{login}@s3.example"}
    for proxy in (f"http://{login}@proxy.example:3128", f"{login}@proxy.example:3128"):
        shown = settings_text(merge({**given, "proxy": proxy}, {}, file))
        assert "hush" not in shown
        assert "proxy: http://proxy.example:3128\n" in shown
        assert "data_url: https://data.example/x\n" in shown
    assert "alyx_user: me@example.org\n" in settings_text(merge({"alyx_user": "me@example.org"}, {}, file))


def test_toml_values_of_other_types_count_as_they_read(file: Path) -> None:
    file.write_text("allow_other = true\nmax_transfers = 3\nopen_wait = 0.5\n")
    merged = merge({}, {}, file)
    assert (merged.allow_other, merged.max_transfers, merged.open_wait_s) == (True, 3, 0.5)


@pytest.mark.parametrize("text", ["qc = ", "qc = FAIL", "= 1", 'qc = "FAIL"\nqc = "PASS"', "\0"])
def test_a_file_that_is_not_toml_is_named(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match="not valid TOML") as refused:
        merge({}, {}, file)
    assert str(file) in refused.value.reason


@pytest.mark.parametrize(
    ("text", "what"),
    [('qc = ["FAIL"]', "list"), ('[qc]\nlimit = "FAIL"', "table"), ('[[qc]]\nlimit = "FAIL"', "list")],
)
def test_lists_and_tables_are_no_values(file: Path, text: str, what: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match=f"qc in .* is a {what}, and no setting takes one. Write one value: qc = "):
        merge({}, {}, file)


@pytest.mark.parametrize(
    "text",
    ["cache_dir = 3", "cache_dir = true", "tag = 2024-01-01", "data_url = 5", "proxy = 1.0", "alyx_password = 1_000"],
)
def test_a_number_or_a_date_is_no_text(file: Path, text: str) -> None:
    file.write_text(text)
    key, _, value = text.partition(" = ")
    with pytest.raises(UsageError, match=f"{key} in {file} takes a text, which stands in quotes") as refused:
        merge({}, {}, file)
    assert value not in str(refused.value).replace(str(file), "")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('allow_other = "maybe"', "'maybe'. Give on or off."),
        ("cache_size = 1.5", "'1.5'. Give a size in whole bytes, K, M, G or T, such as 512K, 64M or 1G."),
        ("cache_size = true", "'true'. Give a size"),
        ("open_wait = true", "'true'. Give a duration such as 2s, 500ms, 5m or 24h."),
        ("max_transfers = 2.0", "'2.0'. Give a whole number from 1 to 999999."),
        ("mode = 3", "'3'. Give one of local, auto, refresh, remote."),
        ("cache_expiry = 07:32:00", "'07:32:00'. Give a duration"),
        ("log = false", "'false'. Give a level (debug"),
    ],
)
def test_a_toml_value_of_a_wrong_type_gets_the_form_in_one_sentence(file: Path, text: str, form: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as refused:
        merge({}, {}, file)
    assert f"{text.partition(' ')[0]} in {file} cannot be {form}" in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    file.write_bytes(b"qc = '\xff'")
    with pytest.raises(UsageError, match=str(file)):
        merge({}, {}, file)
    with pytest.raises(UsageError, match="cannot be read"):
        merge({}, {}, file.parent)


@pytest.mark.parametrize("key", ["alyx_password", "data_password", "alyx_token"])
def test_a_secret_in_a_file_that_every_user_may_read_is_refused(file: Path, key: str) -> None:
    file.write_text(f'{key} = "{SECRET}"')
    file.chmod(0o604)
    for files in ((file, None), (file.with_name("none"), file)):
        with pytest.raises(UsageError, match=f"holds {key}, and is open to every user. Run: chmod 600 ") as refused:
            merge({}, {}, *files)
        assert SECRET not in str(refused.value)
    file.chmod(0o640)
    assert getattr(merge({}, {}, file), key) == SECRET


def test_relative_and_home_paths_become_absolute(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert merge({"cache_dir": "here"}, {}, file).cache_dir == tmp_path / "here"
    assert merge({"cache_dir": "~/there"}, {}, file).cache_dir == tmp_path / "home" / "there"


def test_the_configuration_file_is_where_the_desktop_standard_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/config")
    assert config_file() == Path("/config/onefs/config.toml")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert config_file() == Path("/home/me/.config/onefs/config.toml")


def test_settings_are_shown_as_they_are_written(file: Path) -> None:
    shown = settings_text(merge({"cache_size": "500G", "open_wait": "0.5"}, {}, file))
    assert {"cache_size: 500G", "whole_file_max: 64M", "open_wait: 500ms", "cache_expiry: 24h", "record: off"} <= set(
        shown.splitlines()
    )


def test_permissions_are_shown_in_octal_and_a_toml_number_is_not_mistaken_for_them(file: Path) -> None:
    assert "dir_mode: 0755\nfile_mode: 0600\n" in settings_text(merge({"file_mode": "0600"}, {}, file))
    file.write_text("file_mode = 0o644")
    with pytest.raises(UsageError, match=r"file_mode in .* cannot be '420'") as refused:
        merge({}, {}, file)
    assert '"0644"' in refused.value.remedy


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9100", "127.0.0.1:9100"),
        (":9100", "127.0.0.1:9100"),
        ("0.0.0.0:9100", "0.0.0.0:9100"),
        ("metrics-host.lab:65535", "metrics-host.lab:65535"),
        (" [::1]:9100 ", "[::1]:9100"),
        ("off", "None"),
        ("None", "None"),
        ("0", "None"),
    ],
)
def test_addresses_to_listen_at(text: str, address: str) -> None:
    assert str(listen_address(text)) == address


@pytest.mark.parametrize(
    "text", ["65536", "host", "host:0", "::1:9100", "[::g]:9100", "[]:9100", "a b:9100", "http://a:1"]
)
def test_no_addresses_to_listen_at(text: str, file: Path) -> None:
    with pytest.raises(UsageError, match=r"metrics-listen .* a port from 1 to 65535"):
        merge({"metrics_listen": text}, {}, file)


def test_every_setting_is_described() -> None:
    for entry in table():
        assert entry.doc[0].islower() or entry.doc[0].isupper()
        assert not entry.doc.endswith(".")
        assert entry.flag.startswith("--")
        assert entry.key in VALUES


def test_where_a_source_is_and_goes_are_texts(file: Path) -> None:
    for key in ("source", "mountpoint"):
        file.write_text(f"{key} = 5")
        with pytest.raises(UsageError, match=f"{key} in {file} takes a text"):
            merge({}, {}, file.with_name("none"), file)


def test_secrets_are_in_no_repr() -> None:
    assert SECRET not in repr(Settings(alyx_user="me", alyx_password=SECRET, alyx_token=SECRET))


def test_every_group_has_a_setting() -> None:
    assert {entry.group for entry in table()} == set(settings.Group)
