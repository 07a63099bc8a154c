# shellcheck shell=bash
# Words to the person at the terminal; sourced by ./bloginfer.

say() { printf '%s\n' "==> $*"; }
note() { printf '%s\n' "    $*"; }
warn() { printf '%s\n' "bloginfer: $*" >&2; }
die() {
    progress_end
    warn "$*"
    exit 1
}

PROGRESS_SHOWN='' PROGRESS_START=0

# progress PERCENT TEXT: a bar that is drawn over on a terminal, elsewhere one line every tenth.
progress() {
    local percent=$1 text=$2 bar tenth
    [ "$percent" -le 100 ] || percent=100
    [ -n "$PROGRESS_SHOWN" ] || PROGRESS_START=$SECONDS
    if [ -t 1 ]; then
        printf -v bar '%*s' $((percent / 5)) ''
        printf '\r\033[K    [%-20s] %3d%%  %ds  %s' "${bar// /#}" "$percent" $((SECONDS - PROGRESS_START)) "${text:0:60}"
        PROGRESS_SHOWN=yes
    else
        tenth=t$((percent / 10))
        [ "$PROGRESS_SHOWN" = "$tenth" ] || note "$(printf '%3d%%  %ds  %s' "$percent" $((SECONDS - PROGRESS_START)) "$text")"
        PROGRESS_SHOWN=$tenth
    fi
}

progress_end() {
    [ -z "$PROGRESS_SHOWN" ] || [ ! -t 1 ] || echo
    PROGRESS_SHOWN=''
}

# need_space FOLDER MB WHAT
need_space() {
    local free
    free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$2" ] || die "no disk: $3 needs $2 MB free in $1, and there are $free MB"
}
