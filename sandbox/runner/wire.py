"""Messages with descriptors over one SEQPACKET socket: what the host and the runner say to each other.

A message is one JSON object. The payload of a program travels beside it, in a descriptor.
"""

from __future__ import annotations

import _socket
import array
import json
import marshal
import os
import socket
import struct
from _socket import MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOL_SOCKET
from marshal import loads
from typing import Any

MAX_MESSAGE_BYTES = 1 << 16
MAX_HEADER_BYTES = 1 << 12
MAX_DESCRIPTORS = 8
PARTING = struct.Struct("=BQ")
"""What a candidate says last: its exit status and the most memory it held, in bytes."""
CELL_DONE = struct.Struct("=BBQ")
"""What a session says after a cell: its exit status, the key of a hint, and the most memory it held, in bytes."""
pack_number = struct.Struct("=i").pack
RIGHTS_BYTES = socket.CMSG_SPACE(4 * MAX_DESCRIPTORS)


def send(
    channel: socket.socket, message: dict[str, Any], descriptors: list[int] | None = None
) -> None:
    """Send one message and copies of the descriptors; `OSError` when the other side is gone."""
    socket.send_fds(channel, [json.dumps(message).encode()], descriptors or [])


def receive(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Receive one message and its descriptors; `None` when the other side is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(
            channel, MAX_MESSAGE_BYTES, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionError:
        return None, []
    return (json.loads(data) if data else None), list(descriptors)


def pass_on(channel: socket.socket, header: tuple[Any, ...], descriptors: list[int]) -> None:
    """Send a program on to a fork of this very process; read with `take_over`, which touches few pages."""
    rights = array.array("i", descriptors)
    channel.sendmsg((marshal.dumps(header),), ((socket.SOL_SOCKET, socket.SCM_RIGHTS, rights),))


def take_over(channel: _socket.socket) -> tuple[tuple[Any, ...] | None, list[int]]:
    """Receive what `pass_on` sent; `None` when the other side is gone."""
    data, rights, _, _ = channel.recvmsg(MAX_HEADER_BYTES, RIGHTS_BYTES, MSG_CMSG_CLOEXEC)
    descriptors = memoryview(rights[0][2]).cast("i").tolist() if rights else []
    return (loads(data) if data else None), descriptors


def send_descriptor(channel: _socket.socket, descriptor: int | None) -> None:
    """Send one descriptor, or word that there is none, with as little as possible."""
    rights = [] if descriptor is None else [(SOL_SOCKET, SCM_RIGHTS, pack_number(descriptor))]
    channel.sendmsg((b"r",), rights)


def receive_descriptor(channel: socket.socket) -> list[int | None] | None:
    """Receive what `send_descriptor` sent, in a list of one; `None` when the other side is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(channel, 1, 1, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None
    return ([*descriptors, None][:1]) if data else None


def close_all(descriptors: list[int]) -> None:
    """Close descriptors and forget them."""
    for descriptor in descriptors:
        os.close(descriptor)
    descriptors.clear()
