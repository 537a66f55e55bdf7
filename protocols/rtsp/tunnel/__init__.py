"""RTSP within HTTP: the tunnel that Apple described for QuickTime, client side."""
