"""On which addresses a process and all that it started listen; Linux."""

from __future__ import annotations

import ipaddress
import struct
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
LISTENS = "0A"


def family(pid: int) -> set[int]:
    """A process and all its descendants."""
    parents: dict[int, int] = {}
    for status in PROC.glob("[0-9]*/stat"):
        try:
            text = status.read_text()
        except OSError:  # it has just ended
            continue
        parents[int(status.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening(pid: int) -> dict[tuple[str, int], str]:
    """(address, port) that a process or a descendant of it listens on by TCP, and who."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in (PROC / "net" / table).read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == LISTENS:
                address, port = cells[1].split(":")
                sockets[f"socket:[{cells[9]}]"] = (_address(address), int(port, 16))
    found = {}
    for one in family(pid):
        with suppress(OSError):  # it has just ended
            who = (PROC / str(one) / "comm").read_text().strip()
            found |= {
                sockets[link]: who for link in map(_target, (PROC / str(one) / "fd").iterdir()) if link in sockets
            }
    return found


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # just closed, as is that by which the folder is read
        return ""


def _address(text: str) -> str:
    """As the kernel writes it: words of 32 bits in the machine's order."""
    packed = b"".join(struct.pack("=I", int(text[i : i + 8], 16)) for i in range(0, len(text), 8))
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
