"""`flux probe URL`: reads a stream as a player would, and measures what comes."""
