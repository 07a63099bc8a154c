# shellcheck shell=bash
# Programs of others that talk to ours in the tests, in an environment of their own; sourced by ./bloginfer.

# peers: with BLOGINFER_PEERS set, makes the environment that tests/peers.requirements describes and tells the tests where
# its Python is. Without it the tests that need one are skipped; when it is set and this fails, they fail.
peers() {
    local home=$BLOGINFER_HOME/peers/test wanted=$ROOT/tests/peers.requirements log=$LOGS/peers.log
    [ -n "${BLOGINFER_PEERS:-}" ] || return 0
    if ! cmp -s "$wanted" "$home/requirements"; then
        if [ -n "${BLOGINFER_OFFLINE:-}" ]; then
            note "BLOGINFER_OFFLINE is set: no peers are installed"
            return 0
        fi
        need_space "$BLOGINFER_HOME" 500 "the peers"
        say "installing the tests' peers ($(grep -c == "$wanted") packages from the Python registry)"
        if ! install_peers "$home" "$wanted" >"$log" 2>&1; then
            note "the peers are not there: $(tail -n 1 "$log"); the whole story: $log"
            return 0
        fi
        cp "$wanted" "$home/requirements"
    fi
    export BLOGINFER_PEER_PYTHON=$home/bin/python
}

install_peers() { # FOLDER REQUIREMENTS
    rm -rf "$1"
    "$PYTHON" -m venv --without-pip "$1" &&
        "$PYTHON" -m pip --python "$1/bin/python" install --disable-pip-version-check --no-cache-dir --retries 2 \
            --no-deps --only-binary :all: -r "$2" </dev/null
}
