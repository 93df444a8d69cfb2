#!/usr/bin/env bash
# Builds an image, or writes its lock file anew.
#
#   containers/build.sh IMAGE OUTPUT.sif [--base FOLDER|IMAGE.sif]
#   containers/build.sh IMAGE --relock
#
# IMAGE is eval-cpu, eval-cuda or eval-rocm for the image that candidates run in (eval.def); lm-cpu, lm-cuda or lm-rocm for
# the language model's (lm.def).
# Packages come from files that fit containers/IMAGE.lock; they are downloaded with pip, as it is configured here, into
# $WHEELS (default: build/wheels-IMAGE), unless all are there. Copy that folder over to build without network.
# --base takes a local base instead of the one on a registry: a sandbox folder (containers/host_base.py makes one) or a SIF.
# --relock resolves containers/IMAGE.in, and eval-alone.in without dependencies; it downloads no more than it must to do so.
# $APPTAINER is the command (default: apptainer). Without root, it builds with --fakeroot.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
usage() { sed -n '4,14s/^# \?//p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
image=$1 output=$2; shift 2
case $image in eval-cpu|eval-cuda|eval-rocm|lm-cpu|lm-cuda|lm-rocm) ;; *) usage ;; esac
bootstrap=docker from=docker.io/library/python:3.11-slim-bookworm
case ${1-} in
  '') ;;
  --base) [ $# = 2 ] || usage; bootstrap=localimage from=$(realpath "$2") ;;
  *) usage ;;
esac
lock=$here/$image.lock
# DeepSpeed comes as source only; without prebuilt operators it is pure Python.
pip() { python3 -m pip --disable-pip-version-check "$1" --quiet --only-binary :all: --no-binary deepspeed "${@:2}"; }

if [ "$output" = --relock ]; then
  resolve() { pip install --dry-run --ignore-installed --report "$@"; }
  resolve "$lock.report" --requirement "$here/$image.in"
  alone=$here/${image%-*}-alone.in
  [ ! -f "$alone" ] || resolve "$lock.alone-report" --no-deps --requirement "$alone"
  python3 - "$lock".*report > "$lock" <<'EOF'
import json, sys
for entry in (entry for report in sys.argv[1:] for entry in json.load(open(report))["install"]):
    about, archive = entry["metadata"], entry["download_info"]["archive_info"]
    print(f"{about['name'].lower()}=={about['version']} --hash=sha256:{archive['hashes']['sha256']}")
EOF
  sort -o "$lock" "$lock"; rm "$lock".*report
  exit
fi

wheels=${WHEELS:-build/wheels-$image}
mkdir -p "$wheels"; wheels=$(cd "$wheels" && pwd)
[ -f "$lock" ] || { echo "there is no $lock; make it with --relock where pip finds that build of torch" >&2; exit 1; }
missing() { comm -23 <(grep -o '[0-9a-f]\{64\}$' "$lock" | sort) <(cd "$wheels" && sha256sum -- * | cut -c1-64 | sort); }
[ -z "$(missing 2>/dev/null)" ] || pip download --dest "$wheels" --no-deps --require-hashes --requirement "$lock"

[ "$(id -u)" = 0 ] && privileges=() || privileges=(--fakeroot)
aside=$(dirname "$output")/.tmp-$(basename "$output")
"${APPTAINER:-apptainer}" build "${privileges[@]}" --force --mksquashfs-args "-comp zstd -Xcompression-level 3" \
  --build-arg bootstrap="$bootstrap" --build-arg from="$from" --build-arg lock="$lock" --build-arg wheels="$wheels" \
  "$aside" "$here/${image%-*}.def"
mv "$aside" "$output"
sha256sum "$output"
