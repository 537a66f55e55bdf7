"""Sources that FLUX fetches over HTTP or WebSocket."""
