"""Which machines a source may name: those of the public internet, and hosts that an operator allows."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from baigong.errors import InvalidInput

_NAT64 = IPv6Network("64:ff9b::/96")
_INSIDE = {IPv4Address("168.63.129.16")}  # Azure's own services, at a public-looking address


def addresses(host: str, port: int, allow: Sequence[str] = ()) -> list[str]:
    """The addresses of a host, each of them public unless the host is allowed; none if unknown.

    Connect to these and never to the name, which may mean another machine the next time.

    Raises:
        InvalidInput: an address is not public.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return []
    texts = list(dict.fromkeys(str(row[4][0]) for row in found))
    if host.lower() not in {name.lower() for name in allow}:
        for text in texts:
            if not is_public(text):
                raise InvalidInput(
                    f"The host '{host}' is at {text}, which is not a public address.",
                    hint=f"If that host is meant, name '{host}' in BAIGONG_PRIVATE_HOSTS.",
                    param="sources",
                )
    return texts


def is_public(text: str) -> bool:
    """Whether an address, and any that is packed into it, is one of the public internet."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or _behind_nat64(address)
        if inner is not None:
            return is_public(str(inner))
        if address.is_site_local:
            return False
    return (
        address.is_global
        and not (address.is_multicast or address.is_reserved or address.is_unspecified)
        and address not in _INSIDE
    )


def _behind_nat64(address: IPv6Address) -> IPv4Address | None:
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
