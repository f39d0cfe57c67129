"""
The real supervisorctl of every host without its start-up: 0.2 s of CPU each time, which sixty hosts
on one machine do not have.

A server has it imported already and forks at each call; the client hands over its arguments and its
three standard files, and ends with its exit status. When the client is killed, so is what it asked
for. Where there is no server, the client becomes supervisorctl itself::

    python -m sandbox.hosts.supervisorctl SOCKET                       # the server
    python -I -S sandbox/hosts/supervisorctl.py SOCKET arguments…  # the client; imports nothing of
    ours, nor anything installed
"""

# The client's start-up is what it costs: only what is built in. The server imports the rest where
# it needs it.
import _socket
import os
import sys

_LONGEST = 65536


def serve(path):
    """Answer at the socket ``path`` until killed."""
    import signal
    import socket

    from supervisor import supervisorctl

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    scratch = f"{path}.{os.getpid()}"
    listener.bind(scratch)
    listener.listen(128)
    os.rename(scratch, path)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _attend(connection, supervisorctl.main)
        connection.close()


def _attend(connection, main):
    """
    One call, in a process of its own: a child does it, this one looks whether anybody still waits
    for it.
    """
    import select
    import signal
    import socket

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, files, _, _ = socket.recv_fds(connection, _LONGEST, 3)
    ended, ending = os.pipe()
    child = os.fork()
    if child == 0:
        for number, file in enumerate(files):
            os.dup2(file, number)
        connection.close()
        os._exit(_status(main, [os.fsdecode(word) for word in message.split(b"\0")]))
    for file in (*files, ending):
        os.close(file)
    readable = select.select([ended, connection], [], [])[0]
    if ended not in readable:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        connection.send(bytes([status & 0xFF]))
    finally:
        os._exit(0)


def _status(main, arguments):
    try:
        main(arguments)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException as err:
        sys.stderr.write(f"supervisorctl: {err!r}\n")
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def ask(path, arguments):
    """Have the server at ``path`` do it and return its exit status; None where there is none."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    files = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    try:
        connection.connect(path)
        words = b"\0".join(map(os.fsencode, arguments))
        connection.sendmsg([words], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
    except OSError:
        return None
    answer = connection.recv(1)
    return answer[0] if answer else 1


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(sys.argv[1])
    told = ask(sys.argv[1], sys.argv[2:])
    if told is None:
        os.execv(sys.executable, [sys.executable, "-m", "supervisor.supervisorctl", *sys.argv[2:]])
    sys.exit(told)
