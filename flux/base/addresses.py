"""IP addresses as text, for comparing."""

import ipaddress


def plain_address(address: str) -> str:
    """An address without scope and without the IPv4-in-IPv6 prefix, written as RFC 5952 has it;
    text that is none stays."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
