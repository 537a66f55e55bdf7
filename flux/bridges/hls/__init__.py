"""HLS: `http://host:8888/NAME/index.m3u8`."""
