#!/usr/bin/env bash
# Builds the evaluation image.
#
#   containers/build.sh cpu|cuda|rocm OUTPUT.sif [--base FOLDER|IMAGE.sif] [--relock]
#
# Packages come from wheels that fit containers/eval-VARIANT.lock; they are downloaded with pip, as it is configured here,
# into $WHEELS (default: build/wheels-VARIANT), or found there. Copy that folder over to build on a machine without network.
# --base takes a local base instead of the one on a registry: a sandbox folder (containers/host_base.py makes one) or a SIF.
# --relock writes the lock file anew from containers/eval-VARIANT.in.
# $APPTAINER is the command (default: apptainer). Without root, it builds with --fakeroot.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
usage() { sed -n '4,11s/^# \?//p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
variant=$1 output=$2; shift 2
case $variant in cpu|cuda|rocm) ;; *) usage ;; esac
bootstrap=docker from=docker.io/library/python:3.11-slim-bookworm relock=
while [ $# -gt 0 ]; do
  case $1 in
    --base) [ $# -ge 2 ] || usage; bootstrap=localimage from=$(realpath "$2"); shift 2 ;;
    --relock) relock=yes; shift ;;
    *) usage ;;
  esac
done
lock=$here/eval-$variant.lock
wheels=${WHEELS:-$here/../build/wheels-$variant}
mkdir -p "$wheels"; wheels=$(cd "$wheels" && pwd)
pip=(python3 -m pip --disable-pip-version-check download --quiet --only-binary :all: --dest "$wheels")

if [ -n "$relock" ]; then
  "${pip[@]}" --requirement "$here/eval-$variant.in"
  for wheel in "$wheels"/*.whl; do
    name=$(basename "$wheel"); version=${name#*-}
    echo "${name%%-*}==${version%%-*} --hash=sha256:$(sha256sum "$wheel" | cut -d' ' -f1)"
  done > "$lock"
fi
[ -f "$lock" ] || { echo "there is no $lock; make it with --relock where pip finds the $variant build of torch" >&2; exit 1; }
"${pip[@]}" --no-deps --require-hashes --requirement "$lock"

[ "$(id -u)" = 0 ] && privileges=() || privileges=(--fakeroot)
aside=$(dirname "$output")/.tmp-$(basename "$output")
"${APPTAINER:-apptainer}" build "${privileges[@]}" --force --mksquashfs-args "-comp zstd -Xcompression-level 3" \
  --build-arg bootstrap="$bootstrap" --build-arg from="$from" --build-arg lock="$lock" --build-arg wheels="$wheels" \
  "$aside" "$here/eval.def"
mv "$aside" "$output"
sha256sum "$output"
