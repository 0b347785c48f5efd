"""The network interface by which the other nodes of the cluster reach this one."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

import ray

GLOO = "GLOO_SOCKET_IFNAME"  #: gloo's variable
_SIOCGIFADDR = 0x8915


def interface_of(address: str) -> str | None:
    """The name of the interface with this IPv4 address; None where there is none, or the system does not tell."""
    for _, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                told = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # it has no address
                continue
        if socket.inet_ntoa(told[20:24]) == address:
            return name
    return None


def show_gloo_the_way() -> None:
    """Have gloo use the interface of the cluster's network, where the user has not chosen one.

    By itself it takes the address of the host's name, which on many machines is a loopback's: ranks on other nodes
    then never reach it. NCCL looks for a network by itself.
    """
    if GLOO not in os.environ and (name := interface_of(str(ray.util.get_node_ip_address()))):
        os.environ[GLOO] = name
