"""Elementary streams: what PES packets carry, taken apart into units; one module per kind."""
