"""FLV in: what bridges share that take it, be it from bytes or from messages."""
