# shellcheck shell=bash
# Programs of others that talk to ours in the tests, in an environment of their own; sourced by ./bloginfer.

# environment NAME REQUIREMENTS MB: makes var/peers/NAME as the file describes it and fills PEER_PYTHON; false, having said
# why, when that cannot be had.
PEER_PYTHON=''
environment() {
    local home=$BLOGINFER_HOME/peers/$1 wanted=$2 log=$LOGS/peers.log
    if ! cmp -s "$wanted" "$home/requirements"; then
        if [ -n "${BLOGINFER_OFFLINE:-}" ]; then
            note "BLOGINFER_OFFLINE is set: no peers are installed"
            return 1
        fi
        need_space "$BLOGINFER_HOME" "$3" "the peers"
        say "installing $1 peers ($(grep -c == "$wanted") packages from the Python registry)"
        if ! install_peers "$home" "$wanted" >"$log" 2>&1; then
            note "the peers are not there: $(tail -n 1 "$log"); the whole story: $log"
            return 1
        fi
        cp "$wanted" "$home/requirements"
    fi
    PEER_PYTHON=$home/bin/python
}

# peers: with BLOGINFER_PEERS set, makes the environments that the tests know and tells them where their Pythons are.
# Without it the tests that need one are skipped; when it is set and this fails, they fail.
peers() {
    [ -n "${BLOGINFER_PEERS:-}" ] || return 0
    if environment test "$ROOT/tests/peers.requirements" 500; then export BLOGINFER_PEER_PYTHON=$PEER_PYTHON; fi
    if environment load "$ROOT/loadtest/requirements.txt" 200; then export BLOGINFER_LOCUST_PYTHON=$PEER_PYTHON; fi
}

install_peers() { # FOLDER REQUIREMENTS
    rm -rf "$1"
    "$PYTHON" -m venv --without-pip "$1" &&
        "$PYTHON" -m pip --python "$1/bin/python" install --disable-pip-version-check --no-cache-dir --retries 2 \
            --no-deps --only-binary :all: -r "$2" </dev/null
}
