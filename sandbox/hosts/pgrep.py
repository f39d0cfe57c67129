"""``pgrep -f PATTERN`` of one host: all hosts share this machine, and the real one would see the processes of the others.

Run by its file's name, without anything of ours or installed: ``python -I -S sandbox/hosts/pgrep.py -f PATTERN``.
"""

import contextlib
import os
import re
import sys


def main(arguments):
    """Print the pids; exit status 0 if there are any, 1 if not, 2 for anything but ``-f PATTERN``."""
    if len(arguments) != 2 or arguments[0] != "-f":
        return 2
    pattern, mine = re.compile(arguments[1]), b"SANDBOX_INIT=" + os.environb.get(b"SANDBOX_INIT", b"-")
    found = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid() and _matches(pid, pattern, mine)]
    print("\n".join(found))
    return 0 if found else 1


def _matches(pid, pattern, mine):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read().replace(b"\0", b" ").decode(errors="replace")
        if pattern.search(command):
            with open(f"/proc/{pid}/environ", "rb") as file:
                return mine in file.read().split(b"\0")
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
