"""Congestion control: how fast a connection may send, and how much at once."""
