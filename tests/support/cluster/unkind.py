"""Lines that people have in their `setup`, each of which would break a shell that supervises."""

from __future__ import annotations

UNKIND = (
    "set -euo pipefail",
    "set -u",
    "set -e",
    "trap '' USR1; trap 'exit 9' EXIT",
    "stop=no driver=1 status=3 successor=8",
    "cd /",
    "exec 2>/dev/null",
    "shopt -s expand_aliases; alias kill=false wait=false ln=false",
    "kill() { false; }; wait() { :; }",
    "PATH=/nowhere",
    "set -- some other words",
    "set -f -o noclobber; IFS=,",
)
