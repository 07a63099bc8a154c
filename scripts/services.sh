# shellcheck shell=bash
# What each service is started with, and how it is asked whether it is well; sourced by ./bloginfer.

PG_BIN=/usr/lib/postgresql/15/bin

# PostgreSQL refuses to run as root: then its files belong to the system user postgres.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then setpriv --reuid postgres --regid postgres --init-groups -- "$@"; else "$@"; fi
}

secret() { # NAME: made at the first call
    [ -s "$SECRETS/$1" ] || (umask 077 && od -An -N 24 -tx1 /dev/urandom | tr -d ' \n' >"$SECRETS/$1")
    cat "$SECRETS/$1"
}

# After a SIGKILL the lock file stays. PostgreSQL takes it over by itself when that process is gone, but holds a zombie,
# which nobody has collected yet, for a living one; a process of a cluster stands in its folder, a zombie nowhere.
clear_postgres_lock() { # FOLDER
    local cwd until=$((SECONDS + 10)) pid busy=1
    [ -f "$1/postmaster.pid" ] || return 0
    while [ $busy = 1 ] && [ $SECONDS -lt $until ]; do
        busy=0
        for cwd in /proc/[0-9]*/cwd; do
            if [ "$(readlink "$cwd" 2>/dev/null)" = "$1" ]; then busy=1 && sleep 0.1 && break; fi
        done
    done
    read -r pid <"$1/postmaster.pid" || return 0
    [ $busy = 1 ] || start_time "$pid" >/dev/null || rm -f "$1/postmaster.pid"
}

prepare_postgres() {
    local pg=$BLOGINFER_HOME/pg
    if [ -d "$pg/data" ]; then
        clear_postgres_lock "$(realpath "$pg/data")"
        return
    fi
    say "creating PostgreSQL's files"
    need_space "$BLOGINFER_HOME" 200 "PostgreSQL"
    mkdir -p "$pg"
    if [ "$(id -u)" = 0 ]; then
        chown postgres: "$pg"
        as_postgres test -x "$pg" || pg=$(move_postgres "$pg")
    fi
    chmod 700 "$pg"
    rm -rf "$pg/new"
    # shellcheck disable=SC2016
    secret postgres | as_postgres sh -c 'umask 077; cat >"$1"' sh "$pg/password"
    (cd / && as_postgres "$PG_BIN/initdb" --username=bloginfer --pwfile="$pg/password" --auth=scram-sha-256 --encoding=UTF8 \
        --locale=C.UTF-8 --data-checksums --pgdata="$pg/new") >>"$LOGS/postgres.log" 2>&1 ||
        die "initdb failed: $(tail -n 1 "$LOGS/postgres.log"); the whole story: $LOGS/postgres.log"
    rm -f "$pg/password"
    mv "$pg/new" "$pg/data"
}

move_postgres() { # FOLDER that the user postgres cannot reach: a link instead, to one that he can
    local real
    real=/var/lib/bloginfer/$(printf %s "$1" | sha256sum | cut -c 1-12)
    rmdir "$1"
    mkdir -p "$real"
    chown postgres: "$real"
    ln -s "$real" "$1"
    note "the user postgres may not enter $BLOGINFER_HOME: its files lie in $real" >&2
    echo "$real"
}

prepare_redis() {
    local redis=$BLOGINFER_HOME/redis
    mkdir -p "$redis"
    ln -sf /usr/bin/redis-check-rdb "$redis/redis-server" # one program, which goes by the name it is called
    (umask 077 && cat >"$redis/redis.conf") <<CONF
bind 127.0.0.1
port ${PORT[redis]}
dir $redis
requirepass $(secret redis)
appendonly yes
maxmemory 256mb
maxmemory-policy volatile-lru
CONF
}

pg_query() { # SQL
    PGPASSWORD=$(secret postgres) psql -XAtq -h 127.0.0.1 -p "${PORT[postgres]}" -U bloginfer -d postgres -c "$1"
}

# command_of SERVICE: fills CMD.
command_of() {
    local data=$BLOGINFER_HOME/data store=$BLOGINFER_HOME/models
    local grpc=(--listen 127.0.0.1 --port "${PORT[$1]}" --metrics-port "${METRICS[$1]:-0}")
    case $1 in
    postgres)
        CMD=("$PG_BIN/postgres" -D "$(realpath -m "$BLOGINFER_HOME/pg")/data" -h 127.0.0.1 -p "${PORT[postgres]}"
            -c unix_socket_directories= -c shared_buffers=64MB)
        [ "$(id -u)" != 0 ] || CMD=(setpriv --reuid postgres --regid postgres --init-groups -- "${CMD[@]}")
        ;;
    redis) CMD=("$BLOGINFER_HOME/redis/redis-server" "$BLOGINFER_HOME/redis/redis.conf") ;;
    aggregator) CMD=("$BIN/bloginfer-aggregator" "${grpc[@]}" --state "$BLOGINFER_HOME/state" --store "$store") ;;
    inference) CMD=("$BIN/bloginfer-inference" "${grpc[@]}" --store "$store") ;;
    detector)
        CMD=("$BIN/bloginfer-detector" "${grpc[@]}"
            --models "${BLOGINFER_MODELS:+$BLOGINFER_MODELS:}$data/models:/usr/share/darknet/cfg:/usr/share/darknet/data")
        ;;
    trainer)
        CMD=("$BIN/bloginfer-trainer" "${grpc[@]}" --aggregator "127.0.0.1:${PORT[aggregator]}"
            --worker "$BIN/bloginfer-worker" --data "${BLOGINFER_DATA:+$BLOGINFER_DATA:}$data")
        ;;
    gateway)
        CMD=("$BIN/bloginfer-gateway" "${grpc[@]}" --inference "127.0.0.1:${PORT[inference]}"
            --detector "127.0.0.1:${PORT[detector]}" --aggregator "127.0.0.1:${PORT[aggregator]}"
            --trainer "127.0.0.1:${PORT[trainer]}" --admin-token-file "$SECRETS/admin-token")
        ;;
    esac
}

probe() { # SERVICE PATH: the body's first line; fails unless the answer is 200
    local body rc=0
    body=$(curl -sS --noproxy '*' -m 3 --fail-with-body "http://127.0.0.1:${METRICS[$1]}$2" 2>/dev/null) || rc=1
    printf '%s\n' "${body%%$'\n'*}"
    return $rc
}

ready() { # SERVICE
    case $1 in
    postgres) "$PG_BIN/pg_isready" -q -h 127.0.0.1 -p "${PORT[postgres]}" ;;
    redis) [ "$(REDISCLI_AUTH=$(secret redis) redis-cli -h 127.0.0.1 -p "${PORT[redis]}" ping 2>/dev/null)" = PONG ] ;;
    *) probe "$1" /readyz >/dev/null ;;
    esac
}

# It answers with the version that is in production, no more with the built-in model or the version before.
serving_production() { # inference
    local version
    ready "$1" || return 1
    version=$(cat "$BLOGINFER_HOME/models/sentiment/production" 2>/dev/null) || return 0
    curl -sS --noproxy '*' -m 3 "http://127.0.0.1:${METRICS[$1]}/metrics" 2>/dev/null |
        grep -qxF "bloginfer_model_version{task=\"sentiment\"} $version"
}

alive() { # SERVICE: answers, though it may have nothing to serve yet
    case $1 in
    postgres | redis) ready "$1" ;;
    *) probe "$1" /healthz >/dev/null ;;
    esac
}

await() { # CHECK SERVICE SECONDS: CHECK is ready or alive
    local until=$((SECONDS + $3))
    while ! "$1" "$2"; do
        pid_of "$2" >/dev/null || die "$2 ended at its start: $(tail -n 1 "$LOGS/$2.log"); see ./bloginfer logs $2"
        [ $SECONDS -lt $until ] || die "$2 is not $1 after $3 s: $(tail -n 1 "$LOGS/$2.log"); see ./bloginfer logs $2"
        sleep 0.1
    done
}

version_of() { # SERVICE that runs
    case $1 in
    postgres) "$PG_BIN/postgres" --version | awk '{ print $3 }' ;;
    redis) REDISCLI_AUTH=$(secret redis) redis-cli -h 127.0.0.1 -p "${PORT[redis]}" info server 2>/dev/null | tr -d '\r' |
        sed -n 's/^redis_version://p' ;;
    *) curl -sS --noproxy '*' -m 3 "http://127.0.0.1:${METRICS[$1]}/metrics" 2>/dev/null |
        sed -n 's/^bloginfer_build_info{.*version="\([^"]*\)".*/\1/p' ;;
    esac
}
