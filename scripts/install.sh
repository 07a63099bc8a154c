# shellcheck shell=bash
# Debian packages and the build; sourced by ./bloginfer.

packages() { # SECTION...: their names in packages.txt
    local sections=" $* " section name
    while read -r section name _; do
        [[ $section != '#'* && -n $section && $sections == *" $section "* ]] && echo "$name"
    done <"$ROOT/packages.txt"
    true
}

missing_packages() { # SECTION...
    local wanted
    mapfile -t wanted < <(packages "$@" | sort -u)
    comm -23 <(printf '%s\n' "${wanted[@]}") \
        <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null | sed -n 's/^installed //p' | sort -u)
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -- "$@"; fi
}

install_packages() { # SECTION...
    local missing log=$LOGS/apt.log
    command -v dpkg-query >/dev/null || die "this is not Debian: install what packages.txt lists and use cmake and ninja"
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${#missing[@]} Debian packages: ${missing[*]}"
    [ -z "${BLOGINFER_OFFLINE:-}" ] || die "BLOGINFER_OFFLINE is set and Debian packages are missing: ${missing[*]}"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        die "neither root nor sudo: have somebody run apt-get install ${missing[*]}"
    need_space /usr 1500 "installing packages"
    : >"$log"
    if ! as_root bash -c "$APT_SCRIPT" apt "$log" "${missing[@]}" </dev/null | apt_progress; then
        progress_end
        apt_failed "$log"
    fi
    progress_end
}

# Runs as root: LOG PACKAGE...; apt's progress goes to standard output. PostgreSQL's package would make and start a
# cluster of the system's own: for the time of the installation nothing may be started and no cluster is made.
# shellcheck disable=SC2016
APT_SCRIPT='
set -u
log=$1; shift
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.d
ours="written by bloginfer while it installs packages"
clean() {
    if grep -qs "$ours" $policy; then rm -f $policy; fi
    rm -f $cluster/bloginfer.conf
}
trap clean EXIT
trap "exit 130" INT TERM
[ -e $policy ] || { printf "#!/bin/sh\n# %s\nexit 101\n" "$ours" >$policy; chmod 755 $policy; }
[ -e /usr/lib/postgresql/15/bin/postgres ] || {
    mkdir -p $cluster && printf "# %s\ncreate_main_cluster = false\n" "$ours" >$cluster/bloginfer.conf
}
options="-y -q --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold -o APT::Status-Fd=3"
dpkg --configure -a >>"$log" 2>&1
apt-get update -q >>"$log" 2>&1
apt-get install $options "$@" 3>&1 >>"$log" 2>&1
'

apt_progress() {
    local kind percent text
    while IFS=: read -r kind _ percent text; do
        percent=${percent%%.*}
        case $kind in
        dlstatus) progress $((percent / 2)) "$text" ;;
        pmstatus) progress $((50 + percent / 2)) "$text" ;;
        esac
    done
}

apt_failed() { # LOG
    local why
    why=$(grep -m1 -E '^(E|W|Err|dpkg): ' "$1" || tail -n 1 "$1")
    if grep -qE 'not have enough free space|No space left' "$1"; then
        die "no disk: apt-get ran out of space ($why)"
    elif grep -qE 'Temporary failure|Could not (resolve|connect)|Unable to connect|timed out|Unable to locate' "$1"; then
        die "no network: apt-get cannot get the packages ($why); the whole story: $1"
    fi
    die "apt-get failed ($why); the whole story: $1"
}

build() { # [CMAKE_ARGUMENT...]; BUILD_TARGET: only that
    local log=$LOGS/build.log start=$SECONDS
    mkdir -p "$BUILD"
    need_space "$BUILD" 500 "the build"
    : >"$log"
    if [ ! -f "$BUILD/build.ninja" ] || [ $# -gt 0 ]; then
        say "configuring ${BUILD#"$ROOT/"}"
        cmake -S "$ROOT" -B "$BUILD" -G Ninja -DCMAKE_BUILD_TYPE=Release "$@" >>"$log" 2>&1 ||
            build_failed "$log" "cmake"
    fi
    say "building ${BUILD#"$ROOT/"}"
    NINJA_STATUS='@%f %t ' ninja -C "$BUILD" ${BUILD_TARGET:+"$BUILD_TARGET"} 2>&1 | tee -a "$log" | build_progress || build_failed "$log" "ninja"
    progress_end
    note "built in $((SECONDS - start)) s"
}

build_progress() {
    local finished total text
    while read -r finished total text; do
        [[ $finished == @[0-9]* && $total -gt 0 ]] || continue
        finished=${finished#@}
        progress $((100 * finished / total)) "$finished/$total ${text##*/}"
    done
}

build_failed() { # LOG WHAT
    progress_end
    grep -vE '^@[0-9]+ ' "$1" | tail -n 40 >&2 || true
    die "$2 failed; the whole story: $1"
}
