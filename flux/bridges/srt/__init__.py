"""SRT: publishers, readers, sources and forwards; MPEG-TS inside."""
