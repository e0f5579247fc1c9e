"""Which adapter to the kernel a mount takes, by the setting, the kernel and what is installed."""

import os
import sys
from pathlib import Path

import pytest

from onefs.daemon.systemd import exit_code
from onefs.errors import MountError
from onefs.exit_codes import WRONG_CONFIGURATION
from onefs.fuse.adapters import chosen_adapter
from onefs.settings import Settings


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A kernel of the release that is the parameter."""
    names = list(os.uname())
    names[2] = request.param
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(names))


@pytest.fixture
def without_pyfuse3(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where pyfuse3 is not installed."""
    monkeypatch.delitem(sys.modules, "pyfuse3", raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(
        sys, "meta_path", [each for each in sys.meta_path if not each.__module__.startswith("__editable")]
    )


@pytest.mark.parametrize("kernel", ["4.9.0-1-amd64", "4.18.0-553.el8", "6.18.5", "7.0", "unknown"], indirect=True)
@pytest.mark.usefixtures("kernel")
def test_auto_is_the_session_on_every_kernel_that_it_knows() -> None:
    assert chosen_adapter(Settings()) == "session"


@pytest.mark.parametrize("kernel", ["3.10.0-1160.el7.x86_64", "4.8.17"], indirect=True)
@pytest.mark.usefixtures("kernel")
def test_auto_is_pyfuse3_on_older_kernels() -> None:
    assert chosen_adapter(Settings()) == "pyfuse3"
    assert chosen_adapter(Settings(kernel_adapter="session")) == "session"


@pytest.mark.parametrize("kernel", ["4.8.17", "6.18.5"], indirect=True)
@pytest.mark.usefixtures("kernel", "without_pyfuse3")
def test_auto_is_the_session_where_there_is_nothing_else() -> None:
    assert chosen_adapter(Settings()) == "session"


def test_either_can_be_chosen() -> None:
    assert chosen_adapter(Settings(kernel_adapter="session")) == "session"
    assert chosen_adapter(Settings(kernel_adapter="pyfuse3")) == "pyfuse3"
    assert "pyfuse3" in sys.modules


@pytest.mark.usefixtures("without_pyfuse3")
def test_pyfuse3_that_is_not_installed_is_refused_with_what_to_install() -> None:
    with pytest.raises(MountError) as refused:
        chosen_adapter(Settings(kernel_adapter="pyfuse3"))
    assert refused.value.reason == "kernel_adapter is pyfuse3, and pyfuse3 is not installed."
    assert 'pip install "onefs[pyfuse3]"' in refused.value.remedy
    assert "libfuse3-dev" in refused.value.remedy
    assert exit_code(refused.value) == WRONG_CONFIGURATION  # systemd need not try again


def test_pyfuse3_without_libfuse_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pyfuse3", raising=False)
    (tmp_path / "pyfuse3.py").write_text("raise ImportError('libfuse3.so.3: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MountError, match=r"pyfuse3 cannot be loaded: libfuse3\.so\.3: cannot open"):
        chosen_adapter(Settings(kernel_adapter="pyfuse3"))
