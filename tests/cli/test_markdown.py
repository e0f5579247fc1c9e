"""Texts in Markdown on a terminal: wrapped, with tables as lists and code as it is."""

from onefs.cli.markdown import wrapped

TEXT = """# Title
Words that go on
over lines.

- **one**: a point that is longer than a line
  and goes on
- two

1. first
2. second

```
code stays as it is, however long it may be

    and keeps empty lines
```
    onefs mount openalyx /mnt/ibl --mode remote

| Key | Type | Meaning |
| --- | --- | --- |
| `k` | a\\|b | what it means, in many words |
| `l` | | |
## End
"""

SHOWN = """# Title

Words that go on over lines.

- **one**: a point that is
  longer than a line and goes
  on
- two

1. first
2. second

```
code stays as it is, however long it may be

    and keeps empty lines
```

    onefs mount openalyx /mnt/ibl --mode remote

    `k`
        a|b – what it means,
        in many words
    `l`

## End
"""


def test_a_text_fits_a_terminal_and_reads_on() -> None:
    assert wrapped(TEXT, 30) == SHOWN
    assert wrapped(SHOWN.partition("    `k`")[0], 30) == SHOWN.partition("    `k`")[0].rstrip() + "\n"
