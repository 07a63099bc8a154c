# shellcheck shell=bash
# Processes that outlive the script: start, find again, stop; sourced by ./bloginfer.

start_time() { # PID: in ticks since boot; fails when there is no such process or it is a zombie
    local stat fields
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -ra fields <<<"${stat##*) }" # the name before it may hold anything
    [[ ${fields[0]} != [ZX] ]] || return 1
    echo "${fields[19]}"
}

pid_of() { # SERVICE: prints the id of the process that we started; fails when it is gone
    local pid started
    { read -r pid && read -r started; } 2>/dev/null <"$RUN/$1.pid" || return 1
    [ "$(start_time "$pid")" = "$started" ] && echo "$pid"
}

fingerprint() { # of CMD and of the settings in the environment
    {
        printf '%s\n' "${CMD[@]}"
        env | grep '^BLOGINFER_' | grep -vE '^BLOGINFER_(OFFLINE|BUILD|FUZZ_SECONDS)=' | sort
    } | sha256sum | cut -c 1-16
}

# up_to_date SERVICE: it runs, from the program as it is now, with the settings as they are now.
up_to_date() {
    local pid
    pid=$(pid_of "$1") || return 1
    [[ $(readlink "/proc/$pid/exe" 2>/dev/null) != *' (deleted)' ]] || return 1
    command_of "$1"
    [ "$(sed -n 3p "$RUN/$1.pid")" = "$(fingerprint)" ]
}

launch() { # SERVICE: CMD in a session of its own
    local log=$LOGS/$1.log pid
    [ ! -f "$log" ] || [ "$(stat -c %s "$log")" -lt 20000000 ] || mv "$log" "$log.1"
    (cd "$BLOGINFER_HOME" && exec setsid "${CMD[@]}") </dev/null >>"$log" 2>&1 9>&- &
    pid=$!
    printf '%s\n' "$pid" "$(start_time "$pid")" "$(fingerprint)" >"$RUN/$1.pid"
}

port_owner() { # PORT: who listens there; empty when nobody does
    local line
    line=$(ss -Hltnp "sport = :$1" 2>/dev/null | head -n 1)
    [ -n "$line" ] || return 0
    if [[ $line =~ \(\(\"([^\"]+)\",pid=([0-9]+) ]]; then
        echo "${BASH_REMATCH[1]} (pid ${BASH_REMATCH[2]})"
    else
        echo "another user's process"
    fi
}

check_ports() { # SERVICE...: none of them runs, so nobody may listen on their ports
    local service port owner
    for service; do
        for port in "${PORT[$service]}" ${METRICS[$service]:-}; do
            owner=$(port_owner "$port")
            [ -z "$owner" ] ||
                die "port $port of $service is taken by $owner: stop it, or set BLOGINFER_PORT_BASE to a free range"
        done
    done
}

# stop SERVICE: SIGTERM (PostgreSQL: SIGINT, its fast shutdown), 20 s to finish, then SIGKILL.
stop() {
    local pid signal=TERM
    [ "$1" != postgres ] || signal=INT
    if pid=$(pid_of "$1"); then
        end_process "$pid" "$signal" "$1"
        note "$1 stopped"
    fi
    rm -f "$RUN/$1.pid"
}

end_process() { # PID SIGNAL NAME
    local started until=$((SECONDS + 20))
    started=$(start_time "$1") || return 0
    kill -s "$2" "$1" 2>/dev/null || return 0
    while [ "$(start_time "$1")" = "$started" ]; do
        if [ $SECONDS -ge $until ]; then
            warn "$3 (pid $1) did not end within 20 s of SIG$2: killing it"
            kill -s KILL "$1" 2>/dev/null || true
            until=$((SECONDS + 20))
        fi
        sleep 0.05
    done
}

stop_workers() { # training workers of this home, whoever their parent is now
    local exe pid
    for exe in /proc/[0-9]*/exe; do
        [[ $(readlink "$exe" 2>/dev/null) == */bloginfer-worker* ]] || continue
        pid=${exe//[!0-9]/}
        grep -qzxF "BLOGINFER_HOME=$BLOGINFER_HOME" "/proc/$pid/environ" 2>/dev/null || continue
        end_process "$pid" TERM "worker"
        note "worker (pid $pid) stopped"
    done
}
