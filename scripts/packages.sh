# What scripts that install onefs share: what it needs of the machine, and how they fail. Sourced by scripts/setup.sh
# and scripts/install-systemd.

# Print an error and its remedy, and exit.
fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Run a command, and show what it prints only if it fails.
quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        printf 'This failed: %s\n' "$*" >&2
        return 1
    fi
    rm -f "$log"
}

# Print the first Python interpreter at hand that is new enough.
find_python() {
    local name
    for name in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

# Print the Debian packages that are missing to install onefs with the interpreter $1. Each is recognized by what it
# provides, so that other sources of it count too.
missing_packages() {
    command -v fusermount3 >/dev/null || echo fuse3
    "$1" -c 'import ensurepip, venv' 2>/dev/null || echo "python$(version_of "$1")-venv"
}

# The same for pyfuse3, which pip compiles.
packages_missing_for_pyfuse3() {
    command -v gcc >/dev/null || echo gcc
    command -v pkg-config >/dev/null || echo pkg-config
    pkg-config --exists fuse3 2>/dev/null || echo libfuse3-dev
    "$1" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        echo "python$(version_of "$1")-dev"
}

# Print the version of an interpreter, such as 3.11.
version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}
