"""Snapshots: `http://host:8888/NAME.jpg`, the last key frame of a stream as a JPEG."""
