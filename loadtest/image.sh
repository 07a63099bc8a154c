#!/usr/bin/env bash
# An image with the built programs, the libraries that they need and nothing else, for trying the experiments on a cluster:
#   loadtest/image.sh NAME [FOLDER...]      folders (models, pictures) lie under /data by their own names
# NAME may be that of a registry: then push it (podman push NAME), else podman save -o FILE NAME.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
BIN=${BLOGINFER_BUILD:-build}/bin
name=${1:?NAME of the image}
shift
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{usr/bin,data,tmp}
chmod 1777 "$root/tmp"
for program in detector gateway load; do
    install -s "$BIN/bloginfer-$program" "$root/usr/bin/"
    ldd "$BIN/bloginfer-$program" | grep -oE '/[^ ]+' | while read -r library; do
        mkdir -p "$root${library%/*}"
        cp -Lu "$library" "$root$library"
    done
done
for folder; do cp -rL "$folder" "$root/data/"; done
tar -C "$root" -c . | podman import -q -c 'ENV OMP_NUM_THREADS=1' -c 'ENV OPENBLAS_NUM_THREADS=1' -c 'USER 65532' - "$name"
