# Minimal Debians that scripts run commands in: sourced by scripts/test-bare and scripts/test-boot.
# The sourcing script sets `root`, the working tree, and `keep`, a folder or ""; start_work sets `work`.

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Make a folder `work` that is removed at the end, with all that was started; without `keep`, that is in it. Two runs
# with the same `keep` wait for each other.
start_work() {
    work=$(mktemp -d)
    trap end_work EXIT
    trap 'exit 130' INT TERM HUP
    keep=${keep:-$work/kept}
    mkdir -p "$keep/pip" "$keep/apt"
    exec {lock}>"$keep/lock"
    flock "$lock"
}

end_work() {
    local process
    for process in $(jobs -p); do
        kill -KILL "$process" 2>/dev/null || true
    done
    wait
    rm -rf --one-file-system "$work"
}

# Make the base that the other trees are copies of, unless it is kept.
make_base() {
    local mirror
    [[ ! -d $keep/base ]] || return 0
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Release: bookworm' | sed -n 1p)
    rm -rf --one-file-system "$keep/base.new"
    debootstrap --variant=minbase bookworm "$keep/base.new" "${mirror:-http://deb.debian.org/debian}" \
        >"$work/log" 2>&1 || { cat "$work/log" >&2 && fail "debootstrap failed."; }
    mv "$keep/base.new" "$keep/base"
}

# Let the tree in $1 reach apt's mirror and pip's index as this machine does.
configure() {
    local setting value section=''
    cp /etc/resolv.conf /etc/hosts "$1/etc/"
    ln -sf ../proc/self/mounts "$1/etc/mtab" # as on every machine that was booted; fusermount3 wants it
    apt-config dump | grep -E '^Acquire::(https?|ftp|Retries|Check-)' >"$1/etc/apt/apt.conf.d/99machine" || true
    if [[ -f /etc/ssl/certs/ca-certificates.crt ]]; then # the second survives the installation of ca-certificates
        install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/ca-certificates.crt"
        install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$1/usr/local/share/ca-certificates/machine.crt"
    fi
    python3 -m pip config list 2>/dev/null | sort | while IFS='=' read -r setting value; do # such as global.cert='…'
        [[ $setting != :env:* ]] || continue
        [[ ${setting%%.*} == "$section" ]] || printf '[%s]\n' "${setting%%.*}"
        section=${setting%%.*}
        printf '%s = %s\n' "${setting#*.}" "${value:1:-1}"
    done >"$1/etc/pip.conf"
}

# Print the folders of this machine in which pip looks for packages. An index names files beside itself.
pip_folders() {
    { python3 -m pip config list 2>/dev/null || true; } | grep -oE "(file://)?/[^' ]+" | while read -r path; do
        [[ $path != file://* ]] || path=$(dirname "${path#file://}")
        [[ ! -d $path ]] || echo "$path"
    done | sort -u
}

# Print the variables of this machine's environment that say how to reach the network.
network_variables() {
    env | grep -iE '^(PIP_[A-Z_]+|(http|https|ftp|all|no)_proxy|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE)=' || true
}

# Mount the file systems that the tree in $1 needs.
mount_all() {
    local tree=$1 node name major minor folder
    mount --bind "$tree" "$tree"
    mount -t proc proc "$tree/proc"
    mount -t sysfs -o ro sysfs "$tree/sys"
    mount -t tmpfs -o mode=755 tmpfs "$tree/dev"
    for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229; do
        IFS=: read -r name major minor <<<"$node"
        mknod -m 666 "$tree/dev/$name" c "$major" "$minor"
    done
    mkdir "$tree/dev/pts" "$tree/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$tree/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$tree/dev/shm"
    ln -s pts/ptmx "$tree/dev/ptmx"
    ln -s /proc/self/fd "$tree/dev/fd"
    ln -s fd/0 "$tree/dev/stdin"
    ln -s fd/1 "$tree/dev/stdout"
    ln -s fd/2 "$tree/dev/stderr"
    while read -r folder; do
        mkdir -p "$tree$folder"
        mount --bind "$folder" "$tree$folder"
        mount -o remount,bind,ro "$tree$folder"
    done < <(pip_folders)
    mkdir -p "$tree/var/cache/pip"
    mount --bind "$keep/pip" "$tree/var/cache/pip"
    mount --bind "$keep/apt" "$tree/var/cache/apt/archives"
}

# Make the tree $1, a copy of the tree $2 with a copy of the working tree in /srv/onefs.
new_tree() {
    cp -a "$2" "$1"
    configure "$1"
    mkdir "$1/srv/onefs"
    (cd "$root" && git ls-files -z --cached --others --exclude-standard | tar -c --null -T -) |
        tar -x -C "$1/srv/onefs" --no-same-owner
}

# in_tree TREE FUNCTION ARGUMENTS…: run a function of this script as root in a tree, in namespaces of its own.
in_tree() {
    mapfile -t functions < <(compgen -A function)
    export -f "${functions[@]}"
    keep=$keep unshare --mount --pid --fork --kill-child \
        bash -euo pipefail -c 'enter "$1" && shift && "$@"' bash "$@" </dev/null &
    wait "$!"
}

# Make a tree the root of this process, with its file systems.
enter() {
    mount_all "$1"
    mapfile -t variables < <(network_variables)
    cd "$1"
    pivot_root . mnt # not chroot, below which nobody may make a user namespace
    cd /
    umount -l /mnt
}

# Run a command in the tree that was entered, with this machine's way to the network.
run() {
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PIP_CACHE_DIR=/var/cache/pip \
        "${variables[@]}" "$@"
}
