"""What is taken out of text for being secret, and what stays as it is."""

import pytest

from onefs.redaction import is_secret_name, redacted, redacted_values, secrets_in, without_logins


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("GET https://me:word@host.example/a?X-Amz-Signature=abc failed", "GET https://host.example/a failed"),
        ("proxy http://word@host:3128", "proxy http://host:3128"),
        ("'https://host/a?b=c' said", "'https://host/a' said"),
    ],
)
def test_urls_lose_logins_and_queries(text: str, clean: str) -> None:
    assert without_logins(text) == clean
    assert redacted(text) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("alyx_password = 'pass word' # mine", "alyx_password = '…' # mine"),
        ('{"token": "a\\"b", "user": "me"}', '{"token": "…", "user": "me"}'),
        ("password=word&user=me", "password=…&user=me"),
        ("authorization: Basic bWU6d29yZA==", "authorization: …"),
        ("with Token 0123456789abcdef", "with Token …"),
        ("login me password word", "login me password …"),
        ("key AKIAIOSFODNN7EXAMPLE is", "key … is"),
    ],
)
def test_what_looks_secret_is_taken_out(text: str, clean: str) -> None:
    assert redacted(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "The password file /home/me/word cannot be read: permission denied.",
        "Give --alyx-user and --alyx-password-file (or set ONEFS_ALYX_PASSWORD), or --token-file.",
        "data_password_file: /home/me/word",
        "The database refused the token; basic authentication is not offered.",
        "cortexlab/Subjects/KS014/2020-07-01/001/alf/probe00/spikes.times.03467a2e-7a0c-4d2b-8f0c-0d2b1c3f4a5e.npy",
        "MD5 d41d8cd98f00b204e9800998ecf8427e of 1.2 MB from ibl.flatironinstitute.org",
        "labs?limit=1000 waits until 2027-01-15 08:00:12 UTC",
    ],
)
def test_sentences_paths_and_hashes_stay(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    "part",
    ["a", "secret", "token-", "://a", "\n", "x-amz-", "login ", 'secret="', "-----BEGIN a", "eyJabcdefghi-", " "],
)
def test_no_text_takes_long(part: str) -> None:
    """A pattern that looks at each letter again for each letter before it would take minutes, if not days."""
    assert redacted(part * (100_000 // len(part))).startswith(part)


def test_each_pair_counts_though_pairs_stand_in_each_other() -> None:
    assert (
        redacted("said: token=abc, my.secret: 'x y'; secret.file=kept")
        == "said: token=…, my.secret: '…'; secret.file=kept"
    )


@pytest.mark.parametrize(
    "name",
    [
        "password", "ALYX_PASSWD", "passphrase", "pwd", "secret", "token", "api_key", "apikey", "ACCESS_KEY",
        "private_key", "credential", "signature", "session_id", "sessionid", "cookie", "Proxy-Authorization",
        "authorisation", "X-Amz-Date", "x-api-key", "X-CSRFToken", "x-csrf-token",
    ],
)  # fmt: skip
def test_every_name_of_a_secret_is_known(name: str) -> None:
    assert redacted(f"said {name}: w0rd") == f"said {name}: …"


@pytest.mark.parametrize("word", ["a", "token", "a-b.", "://a", "x-amz-", "session_id", "eyJaaaaaaaaa.", "\n", " "])
def test_long_words_are_looked_through_once(word: str) -> None:
    """It would take hours to look through them from each letter on."""
    text = "cookie" + word * (100_000 // len(word))
    assert redacted(text).startswith("cookie")


def test_known_secrets_go_in_every_encoding() -> None:
    secret = "a/b c+ü"
    text = "a/b c+ü a%2Fb%20c%2B%C3%BC a%2fb+c%2b%c3%bc bWU6YS9iIGMrw7w= Xa\\u002f a/b c+\\u00fc"
    assert redacted(text, [secret]) == "… … … … Xa\\u002f …"
    assert redacted("abc of abc", ["abc"]) == "abc of abc", "what is so short would be found everywhere"


def test_values_under_a_secrets_name_go_with_all_below() -> None:
    facts = {"token": {"me": "x"}, "password": "", "log": ["https://me:pw@host/x"], "count": 3, "password_file": "/x"}
    assert redacted_values(facts) == {
        "token": "…",
        "password": "",
        "log": ["https://host/x"],
        "count": 3,
        "password_file": "/x",
    }
    assert secrets_in({"TOKEN": {"me": {"token": "t0"}}, "url": "http://me:p%20w@host", "name": "n"}) == {
        "t0",
        "p%20w",
        "p w",
    }


def test_names() -> None:
    assert all(map(is_secret_name, ("ALYX_PWD", "aws_secret_access_key", "Set-Cookie", "accessToken", "DB_PASS")))
    assert not any(map(is_secret_name, ("alyx_password_file", "keyboard", "bypass", "compass", "monkey", "path")))
