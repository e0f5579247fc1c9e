#!/usr/bin/env bash
# Installs what onefs needs on Debian or Ubuntu, and onefs itself into .venv: scripts/setup.sh [test|bench]
# Quiet when it succeeds; does nothing when all is there.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/packages.sh"
venv="$root/.venv"
level=${1:-}
extra=${level:+test} # the Python packages for tests hold those for benchmarks: ONE-api, pandas and pyfuse3

# The packages that are missing, with those of the level.
missing_for_level() {
    missing_packages "$python"
    if [[ $level ]]; then
        packages_missing_for_pyfuse3 "$python"
        [[ -x /usr/sbin/nginx ]] || command -v nginx >/dev/null || echo nginx-light
    fi
    if [[ $level == test ]]; then
        command -v rsync >/dev/null || echo rsync
        command -v getfattr >/dev/null || echo attr
        [[ -x /usr/sbin/smbd ]] || command -v smbd >/dev/null || echo samba
        command -v smbclient >/dev/null || echo smbclient
    elif [[ $level == bench ]]; then
        command -v curl >/dev/null || echo curl
        command -v rclone >/dev/null || echo rclone
    fi
}

install_packages() {
    local as_root=() apt=(apt-get -q -y -o DPkg::Lock::Timeout=300)
    command -v apt-get >/dev/null ||
        fail "These packages are missing, and there is no apt-get to install them: $*." \
            "Install them as this system does, then run this again."
    if [[ $(id -u) != 0 ]]; then
        command -v sudo >/dev/null ||
            fail "These packages are missing: $*." "Run as root: apt-get install $*"
        as_root=(sudo)
    fi
    printf 'Installing %s …\n' "$*"
    quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${apt[@]}" update ||
        echo "The lists of packages could not be renewed; going on with those at hand." >&2
    quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${apt[@]}" install --no-install-recommends "$@"
}

# What an installation depends on; the path too, since a virtual environment cannot be moved.
fingerprint() {
    { cat "$root/pyproject.toml" && echo "$root" && "$venv/bin/python" --version; } | sha256sum
}

is_installed() {
    local stamp
    "$venv/bin/python" -c '' 2>/dev/null || return 1
    for stamp in "$venv/.installed-test" ${extra:-"$venv/.installed"}; do
        [[ -f $stamp && $(<"$stamp") == "$(fingerprint)" ]] && return
    done
    return 1
}

install_onefs() {
    if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
        quietly "$python" -m venv --clear "$venv"
    fi
    echo "Installing onefs into .venv, which takes some minutes the first time …"
    quietly "$venv/bin/python" -m pip install --disable-pip-version-check -e "$root${extra:+[$extra]}"
    fingerprint >"$venv/.installed${extra:+-$extra}"
}

[[ -z $level || $level == test || $level == bench ]] || fail "usage: scripts/setup.sh [test|bench]"
if ! python=$(find_python); then
    command -v python3 >/dev/null || install_packages python3
    python=$(find_python) || fail "onefs needs Python 3.11 or newer, and there is none on this machine." \
        "Install one, or name one: PYTHON=/path/to/python3.11 $0"
fi
mapfile -t missing < <(missing_for_level)
[[ ${#missing[@]} == 0 ]] || install_packages "${missing[@]}"
is_installed || install_onefs
