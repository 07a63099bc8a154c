# shellcheck shell=bash
# Any bytes into everything that reads bytes from outside: libFuzzer's targets, built and run; sourced by ./bloginfer.
#
# The libraries that decode pictures are built from Debian's own sources (with Debian's patches) for this, with
# AddressSanitizer and coverage in them: in the installed ones neither a read behind a buffer nor a new path would be seen.

DECODERS=(libjpeg-turbo libpng1.6 libwebp giflib)

fuzz_build() {
    local BUILD=$ROOT/build-fuzz BUILD_TARGET=fuzz_targets pkgconfig=''
    install_packages long
    if decoders "$BUILD/decoders"; then pkgconfig=$BUILD/decoders/lib/pkgconfig; fi
    export PKG_CONFIG_PATH=$pkgconfig
    build -DFUZZ=ON -DSANITIZE=address,undefined -DCMAKE_C_COMPILER=clang
    export -n PKG_CONFIG_PATH
}

# decoders FOLDER: makes lib and include in it; false, having said why, when the sources cannot be had.
decoders() {
    local home=$1 log=$LOGS/decoders.log
    [ ! -f "$home/made" ] || return 0
    if [ -n "${BLOGINFER_OFFLINE:-}" ]; then
        note "BLOGINFER_OFFLINE is set: the decoders of pictures are fuzzed as installed, without sanitizers in them"
        return 1
    fi
    say "building ${DECODERS[*]} with sanitizers"
    rm -rf "$home"
    mkdir -p "$home"/{source,lib/pkgconfig,include} "$home/apt/lists/partial"
    if ! { (get_sources "$home") && make_decoders "$home"; } >"$log" 2>&1; then
        note "that failed: $(tail -n 1 "$log"); the decoders are fuzzed as installed. The whole story: $log"
        return 1
    fi
    touch "$home/made"
    rm -f "$home/../CMakeCache.txt" "$home/../build.ninja" # they know the libraries that were there before
}

# The system's list of sources is not touched: this one lives in the folder. Of the security updates not every mirror has
# the sources.
get_sources() { # FOLDER
    local apt=$1/apt options
    options=(-q -o "Dir::Etc::sourcelist=$apt/debian.sources" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$apt/lists")
    cd "$1/source" || return 1
    source_list debian 'bookworm bookworm-updates' >"$apt/debian.sources"
    source_list debian-security bookworm-security >>"$apt/debian.sources"
    apt-get "${options[@]}" update && apt-get "${options[@]}" source "${DECODERS[@]}" && return
    source_list debian 'bookworm bookworm-updates' >"$apt/debian.sources"
    apt-get "${options[@]}" update && apt-get "${options[@]}" source "${DECODERS[@]}"
}

source_list() { # ARCHIVE SUITES
    printf 'Types: deb-src\nURIs: http://deb.debian.org/%s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n' \
        "$1" "$2" /usr/share/keyrings/debian-archive-keyring.gpg
}

make_decoders() { # FOLDER
    local home=$1 flags='-O1 -g -fno-omit-frame-pointer -fsanitize=address,fuzzer-no-link'
    local cmake=(-G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=None "-DCMAKE_C_FLAGS=$flags"
        "-DCMAKE_INSTALL_PREFIX=$home" -DCMAKE_INSTALL_LIBDIR=lib -DBUILD_SHARED_LIBS=OFF)
    make_one "$home" libjpeg-turbo -DENABLE_SHARED=OFF -DWITH_SIMD=OFF -DWITH_TURBOJPEG=OFF &&
        make_one "$home" libpng -DPNG_SHARED=OFF -DPNG_TESTS=OFF &&
        make_one "$home" libwebp -DWEBP_BUILD_{ANIM_UTILS,CWEBP,DWEBP,GIF2WEBP,IMG2WEBP,VWEBP,WEBPINFO,WEBPMUX,EXTRAS}=OFF &&
        make_giflib "$home" || return 1
    describe "$home" libjpeg -ljpeg
    describe "$home" libpng '-lpng16 -lz -lm'
    describe "$home" libwebp '-lwebp -lm'
    describe "$home" libwebpdemux '-lwebpdemux -lwebp -lm'
    describe "$home" libwebpmux '-lwebpmux -lwebp -lm'
    describe "$home" libgif -lgif
}

make_one() { # FOLDER NAME [CMAKE_ARGUMENT...]
    local tree
    tree=$(find "$1/source" -maxdepth 1 -type d -name "$2*")
    cmake -S "$tree" -B "$1/build-$2" "${cmake[@]}" "${@:3}" && ninja -C "$1/build-$2" install
}

make_giflib() { # FOLDER: its Makefile builds more than the library
    local tree name
    tree=$(find "$1/source" -maxdepth 1 -type d -name 'giflib*')
    for name in dgif_lib egif_lib gif_err gif_hash gifalloc openbsd-reallocarray; do
        # shellcheck disable=SC2086
        clang $flags -c "$tree/$name.c" -o "$1/lib/$name.o" || return 1
    done
    ar rcs "$1/lib/libgif.a" "$1"/lib/*.o && cp "$tree/gif_lib.h" "$1/include/"
}

describe() { # FOLDER NAME LIBRARIES
    printf 'Name: %s\nDescription: for fuzzing\nVersion: 1\nCflags: -I%s/include\nLibs: -L%s/lib %s\n' \
        "$2" "$1" "$1" "$3" >"$1/lib/pkgconfig/$2.pc"
}

fuzz_targets() { find "$ROOT/build-fuzz" -name decoders -prune -o -type f -executable -name '*_fuzz' -print | sort; }

# One target from its seeds, or from nothing. What it learns and what it finds stay in build-fuzz/fuzz/TARGET. One large
# allocation is a finding, and so is an input that is slow: to be run again by itself before load is blamed for it.
fuzz_one() { # PROGRAM [LIBFUZZER_ARGUMENT...]
    local program=$1 name home executed rc=0 options=()
    name=${program##*/} name=${name%_fuzz}
    home=$ROOT/build-fuzz/fuzz/$name
    mkdir -p "$home/corpus"
    [ ! -f "$program.dict" ] || options+=("-dict=$program.dict")
    options+=("-artifact_prefix=$home/" -rss_limit_mb=2048 -malloc_limit_mb=128 -timeout=20 -report_slow_units=5 -print_final_stats=1 "${@:2}" "$home/corpus")
    [ ! -d "$program.seeds" ] || options+=("$program.seeds")
    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 "$program" "${options[@]}" >"$home/log" 2>&1 || rc=1
    ! compgen -G "$home/slow-unit-*" >/dev/null || rc=1
    executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$home/log")
    FUZZED=$((FUZZED + ${executed:-0}))
    note "$(printf '%-14s %11s inputs%s' "$name" "${executed:-no}" "$([ $rc = 0 ] || echo "  FINDING, see $home")")"
    [ $rc = 0 ] || grep -aE -m 3 'ERROR:|SUMMARY:|runtime error:' "$home/log" >&2 || true
    return $rc
}

# fuzz_all "NAME..." [LIBFUZZER_ARGUMENT...]: the named targets, or all.
fuzz_all() {
    local wanted=" $1 " program name rc=0 FUZZED=0
    while read -r program; do
        name=${program##*/} name=${name%_fuzz}
        [[ $wanted == ' all ' || $wanted == *" $name "* ]] || continue
        fuzz_one "$program" "${@:2}" || rc=1
    done < <(fuzz_targets)
    say "$FUZZED inputs in all, $([ $rc = 0 ] && echo 'no finding' || echo 'WITH FINDINGS')"
    return $rc
}
