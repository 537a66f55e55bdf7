"""Datagrams without a session: `rtp://` and `udp://` as sources and as targets."""
