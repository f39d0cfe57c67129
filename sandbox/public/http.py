"""
As much HTTP/1.1 as the edge and the visitor need: one message a connection, over asyncio's streams.
"""

import asyncio
import dataclasses
import http

LARGEST_BODY = 8 * 1024 * 1024


class Broken(Exception):
    """The other side sent something that is not HTTP, or stopped in the middle of it."""


@dataclasses.dataclass
class Message:
    """A request (``start``: method, path, version) or a response (version, status, reason)."""

    start: list
    headers: list
    body: bytes = b""

    def header(self, name):
        """The value of a header, or None."""
        name = name.lower()
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def host(self):
        """The hostname asked for: lower case, without a port."""
        return (self.header("host") or "").lower().partition(":")[0].rstrip(".")

    def encode(self):
        """The message as bytes."""
        lines = [" ".join(self.start), *(f"{key}: {value}" for key, value in self.headers)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


def response(status, headers=(), body=b"", head=False):
    """
    A whole response that ends its connection, as bytes; ``head`` leaves out the body but not its
    length.
    """
    try:
        reason = http.HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    headers = [*headers, ("Content-Length", str(len(body))), ("Connection", "close")]
    return Message(["HTTP/1.1", str(status), reason], headers, b"" if head else body).encode()


async def read_request(reader):
    """The next request, or None where the client went away without one."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as err:
        if err.partial:
            raise Broken("the request ends in its head") from err
        return None
    message = _head(head)
    if message.header("transfer-encoding"):
        raise Broken("a request in chunks")
    message.body = await _exactly(reader, message.header("content-length") or "0")
    return message


async def read_response(reader, method="GET"):
    """A whole response; :class:`Broken` if it is cut short."""
    try:
        message = _head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as err:
        raise Broken(
            "closed before an answer" if not err.partial else "closed in the head of the answer"
        ) from err
    if method == "HEAD" or message.start[1] in ("204", "304"):
        return message
    if (message.header("transfer-encoding") or "").lower() == "chunked":
        message.body = await _chunks(reader)
        message.headers = [
            pair for pair in message.headers if pair[0].lower() != "transfer-encoding"
        ]
        message.headers.append(("Content-Length", str(len(message.body))))
    elif message.header("content-length") is not None:
        message.body = await _exactly(reader, message.header("content-length"))
    else:
        message.body = await reader.read(LARGEST_BODY)
    return message


def _head(data):
    lines = data.decode("latin-1").split("\r\n")[:-2]
    start = lines[0].split(" ", 2)
    pairs = [line.partition(":") for line in lines[1:]]
    if len(start) < 2 or not all(colon for _, colon, _ in pairs):
        raise Broken("not HTTP")
    return Message(start, [(key.strip(), value.strip()) for key, _, value in pairs])


async def _exactly(reader, length):
    if not length.isdigit() or int(length) > LARGEST_BODY:
        raise Broken(f"a body of length {length}")
    try:
        return await reader.readexactly(int(length))
    except asyncio.IncompleteReadError as err:
        raise Broken(f"{len(err.partial)} of {length} bytes") from err


async def _chunks(reader):
    body = b""
    try:
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            data = await reader.readexactly(size + 2)
            if not size:
                return body
            body += data[:-2]
            if len(body) > LARGEST_BODY:
                raise Broken("a body without end")
    except (ValueError, asyncio.IncompleteReadError) as err:
        raise Broken("the answer ends between its chunks") from err
