#!/usr/bin/python3
"""GStreamer's side of SRTP, for tests: its RTSP server with TLS, and its reader of MIKEY.

    /usr/bin/python3 gst_secure.py serve CERTIFICATE_AND_KEY.pem
    /usr/bin/python3 gst_secure.py caps MIKEY_IN_HEX

It runs under Debian's own Python and uses nothing of FLUX. `serve` offers a tone in G.711 at /savp
and /savpf, takes one at /record, prints `{"port": 8322}` and ends with its input. `caps` prints
what GStreamer makes of a message in an `a=key-mgmt` line.
"""

import base64
import json
import sys
from typing import Any

import gi

for name in ("Gst", "GstRtsp", "GstRtspServer", "GstSdp"):
    gi.require_version(name, "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer, GstSdp  # noqa: E402

ROLE = "anyone"
TONE = (
    "( audiotestsrc is-live=true samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! "
    "alawenc ! rtppcmapay name=pay0 )"
)
TAKE = "( rtppcmadepay name=depay0 ! fakesink )"


def factory(launch: str, profile: Any) -> Any:
    """A mount that anyone may use."""
    made = GstRtspServer.RTSPMediaFactory()
    made.set_launch(launch)
    made.set_profiles(profile)
    rights = GstRtspServer.RTSPPermissions()
    for right in ("media.factory.access", "media.factory.construct"):
        rights.add_permission_for_role(ROLE, right, True)
    made.set_permissions(rights)
    return made


def serve(pem: str) -> None:
    """Serve until the process is ended."""
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    auth = GstRtspServer.RTSPAuth()
    auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(pem))
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", ROLE)
    auth.set_default_token(token)
    server.set_auth(auth)
    points = server.get_mount_points()
    profiles = GstRtsp.RTSPProfile
    points.add_factory("/savp", factory(TONE, profiles.SAVP))
    points.add_factory("/savpf", factory(TONE, profiles.SAVPF))
    record = factory(TAKE, profiles.SAVP)
    record.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
    points.add_factory("/record", record)
    server.attach(None)
    print(json.dumps({"port": server.get_bound_port()}), flush=True)
    GLib.MainLoop().run()


def caps(text: str) -> None:
    """Print what GStreamer reads in a MIKEY message."""
    _, media = GstSdp.SDPMedia.new()
    data = base64.b64encode(bytes.fromhex(text)).decode()
    media.add_attribute("key-mgmt", f"mikey {data}")
    found = Gst.Caps.new_empty_simple("application/x-srtp")
    media.attributes_to_caps(found)
    print(found.to_string())


if __name__ == "__main__":
    Gst.init(None)
    {"serve": serve, "caps": caps}[sys.argv[1]](sys.argv[2])
