"""RTSP: cameras are fetched, viewers are served, publishers are taken in."""
