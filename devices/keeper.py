"""The shell that keeps our directory on a board, for as long as a connection lasts.

A keeper makes the directory, says what the machine is, and reads its standard input until that
ends: by our closing it, by Ctrl-C, by a kill of this process or a cut connection. Then it ends what
still runs in the directory and removes it. The file `owner` in the directory is the lock: a keeper
that is to be the only one looks for those of others first, and gives up where one is alive. A dead
keeper (another boot, or no such process) holds nothing, and what it left is removed.

The script comes through standard input, too, so that the login shell need not be a POSIX one. On
the board it needs sh, mktemp, cat, chmod, mv, kill and rm.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from binas.devices import probe

END = "== end"  # the last line of its greeting

Mode = Literal["exclusive", "shared", "look", "break"]

# $1: the folder that the directory is made in; $2: who we are; $3: a Mode. All of it is one
# function, so that it has been read before it runs, and the rest of the input is `cat`'s.
# Two keepers that begin in the same moment see each other and both give up: better than both going
# on. `born` tells a process from a later one with the same number.
SCRIPT = (
    r"""main() {
umask 077
case $1 in
  '') parent=${TMPDIR:-/tmp} ;;
  '~/'*) parent=$HOME/${1#'~/'} ;;
  *) parent=$1 ;;
esac
here= made= reader=
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
born() { set -- $(cat "/proc/$1/stat" 2>/dev/null); echo "${22}"; }
finish() {
  cd /
  [ -r "$here/.pid" ] && kill -9 $(cat "$here/.pid") 2>/dev/null
  [ -n "$reader" ] && kill "$reader" 2>/dev/null
  [ -n "$here" ] && rm -rf -- "$here"
  [ -n "$made" ] && rmdir -- "$parent" 2>/dev/null
}
others() {
  for owner in "$parent"/binas.*/owner; do
    [ "$owner" != "$here/owner" ] && [ -r "$owner" ] || continue
    { read -r o_boot && read -r o_pid && read -r o_born && read -r o_mode && read -r o_who
    } < "$owner" || continue
    if [ "$o_boot" != "$boot" ] || [ "$(born "$o_pid")" != "$o_born" ]; then
      rm -rf -- "${owner%/owner}" 2>/dev/null
    elif [ "$o_mode" = exclusive ]; then
      echo "held $o_pid $o_who"
    fi
  done
}
case $3 in
  look) others; exit 0 ;;
  break) others | while read -r word pid who; do echo "$word $pid $who"; kill "$pid"; done
    exit 0 ;;
esac
trap finish EXIT
trap 'exit 1' HUP INT TERM PIPE
[ -d "$parent" ] || made=yes
mkdir -p -- "$parent" && here=$(mktemp -d "$parent/binas.XXXXXX") || exit 73
cd "$here" && chmod 711 . || exit 73
printf '%s\n' "$boot" $$ "$(born $$)" "$3" "$2" > .owner || exit 73
chmod 644 .owner && mv .owner owner
held=$(others)
if [ -n "$held" ]; then
  echo "$held"
  [ "$3" = exclusive ] && exit 75
fi
echo "at $here"
(
"""
    + probe.SCRIPT
    + r""")
echo "== end"
exec 3<&0
cat <&3 >/dev/null 2>&1 &
reader=$!
wait
exit 0
}
main "$@"
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who has a board to himself.

    Attributes:
        pid: Of his keeper, on the board.
        who: User, machine and time, in words.
    """

    pid: int
    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What a keeper says when it has made the directory.

    Attributes:
        directory: The directory; empty if none was made.
        machine: What the machine says about itself.
        holders: Who has the board to himself.
    """

    directory: str
    machine: probe.Machine
    holders: tuple[Holder, ...]


def command(folder: str, mode: Mode) -> str:
    """The command line that takes `SCRIPT` on its standard input.

    Args:
        folder: Where the directory is to be; empty: the folder for temporary files there.
        mode: "exclusive" has the board to itself, "shared" does not mind others, "look" says who
            has it, and "break" ends those.
    """
    return shlex.join(["sh", "-s", "--", folder, who(), mode])


def who() -> str:
    """This user, for the others: `anna@laptop since 2026-11-25 12:03 UTC (process 4711)`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        user = f"user {os.getuid()}"
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return re.sub(r"\s+", " ", f"{user}@{socket.gethostname()} since {now} (process {os.getpid()})")


def parse(text: str) -> Greeting:
    """Read a keeper's greeting; what is no greeting has no directory."""
    directory, holders = "", []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "at" and not directory and "/binas." in rest:
            directory = rest
        elif word == "held":
            pid, _, name = rest.partition(" ")
            holders.append(Holder(pid=int(pid) if pid.isdigit() else 0, who=name))
        elif word == "==":
            break
    return Greeting(directory=directory, machine=probe.parse(text), holders=tuple(holders))
