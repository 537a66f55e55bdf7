"""RTP of other programs: what they send, as packets, and what they make of packets.

GStreamer writes and reads packets as a file (RFC 4571 framing), ffmpeg sends and receives them over
UDP on the loopback interface. A checker: it uses nothing of FLUX.
"""

import re
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from tests.support.ports import free_port
from tests.support.program import Program

HEADER = Struct("!BBHII")
LENGTH = Struct("!H")
BYE = bytes.fromhex("80c900010000000181cb000100000001")  # RR and BYE, RFC 3550 section 6.1
SSRC = 1
LIMIT = 30.0
QUIET = 0.2  # seconds without a packet after its sender has ended
BUFFER_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """One packet; sequence and timestamp as on the wire."""

    payload: bytes
    marker: bool
    payload_type: int
    sequence: int
    timestamp: int

    @classmethod
    def parse(cls, data: bytes) -> "RtpPacket":
        """Take a packet apart; nothing that ffmpeg and GStreamer send has CSRCs or extensions."""
        first, second, sequence, timestamp, _ = HEADER.unpack_from(data)
        assert first == 0x80
        return cls(data[HEADER.size :], second >= 128, second & 127, sequence, timestamp)

    def serialize(self) -> bytes:
        """The packet as on the wire."""
        second = self.payload_type | 128 * self.marker
        sequence, timestamp = self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF
        return HEADER.pack(0x80, second, sequence, timestamp, SSRC) + self.payload


@dataclass(frozen=True, slots=True)
class Sent:
    """What a program sent, and how it described that."""

    packets: list[RtpPacket]
    encoding: str
    clock_rate: int
    channels: int
    fmtp: dict[str, str]


def sent_by_gstreamer(data: bytes, elements: str, folder: Path) -> Sent:
    """What `filesrc ! elements` sends of a file; the last element is a payloader, or its caps."""
    source, target = folder / "in", folder / "out"
    source.write_bytes(data)
    pipeline = f"filesrc location={source} {elements} ! rtpstreampay ! filesink location={target}"
    printed = _gst_launch(pipeline)
    caps = re.search(r"caps = (application/x-rtp, .*)", printed)
    assert caps, printed
    pairs = re.findall(r'([\w-]+)=\(\w+\)("[^"]*"|[^,;\s]+)', caps.group(1))
    fmtp = {name: value.strip('"').replace("\\", "") for name, value in pairs}
    return Sent(
        [RtpPacket.parse(packet) for packet in _unframed(target.read_bytes())],
        fmtp["encoding-name"],
        int(fmtp["clock-rate"]),
        int(fmtp.get("encoding-params", 1)),
        fmtp,
    )


def read_by_gstreamer(
    packets: Sequence[RtpPacket], caps: str, elements: str, folder: Path
) -> bytes:
    """What `elements`, a depayloader first, write of packets of these caps."""
    source, target = folder / "packets", folder / "read"
    framed = [packet.serialize() for packet in packets]
    source.write_bytes(b"".join(LENGTH.pack(len(data)) + data for data in framed))
    full = f"application/x-rtp-stream,media=audio,{caps}"
    _gst_launch(
        f"filesrc location={source} ! {full} ! rtpstreamdepay ! {elements} ! "
        f"filesink location={target}"
    )
    return target.read_bytes()


def sent_by_ffmpeg(program: str, data: bytes, options: str, output: str, folder: Path) -> Sent:
    """What an ffmpeg sends; `options` are those of the input, `output` those of the muxer."""
    source, description = folder / "in", folder / "sent.sdp"
    source.write_bytes(data)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        taker.bind(("127.0.0.1", 0))
        taker.settimeout(QUIET)
        port = taker.getsockname()[1]
        command = f"{program} -nostdin -v error {options} -i {source} -c copy {output} -f rtp"
        command += f" -sdp_file {description} rtp://127.0.0.1:{port}"
        packets: list[RtpPacket] = []
        with Program(command.split()) as sender:
            while True:
                try:
                    heard = taker.recv(65536)
                except TimeoutError:
                    if not sender.is_running:
                        break
                else:
                    packets.append(RtpPacket.parse(heard))
            assert sender.wait(LIMIT) == 0, sender.output
    return _described(packets, description.read_text())


def read_by_ffmpeg(
    program: str, packets: Sequence[RtpPacket], rtpmap: str, fmtp: str, output: str, folder: Path
) -> bytes:
    """What an ffmpeg writes of packets that it receives; `rtpmap` without the payload type."""
    description, target = folder / "read.sdp", folder / "read"
    kind = packets[0].payload_type
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
        lines += [f"m=audio {port} RTP/AVP {kind}"]
        lines += [f"a=rtpmap:{kind} {rtpmap}"] if rtpmap else []
        lines += [f"a=fmtp:{kind} {fmtp}"] if fmtp else []
        description.write_text("\r\n".join(lines) + "\r\n")
        command = f"{program} -nostdin -v debug -protocol_whitelist file,udp,rtp -i {description}"
        with Program([*command.split(), *output.split(), "-y", target]) as reader:
            reader.wait_for("Before avformat_find_stream_info", LIMIT)
            for packet in packets:
                sender.sendto(packet.serialize(), ("127.0.0.1", port))
            sender.sendto(BYE, ("127.0.0.1", port))  # in order, behind what it must not overtake
            assert reader.wait(LIMIT) == 0, reader.output
    return target.read_bytes()


def fmtp_text(fmtp: dict[str, str]) -> str:
    """Format parameters as in SDP."""
    return "; ".join(f"{name}={value}" for name, value in fmtp.items())


def _gst_launch(pipeline: str) -> str:
    done = subprocess.run(
        ["gst-launch-1.0", "-v", *pipeline.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _unframed(data: bytes) -> list[bytes]:
    packets: list[bytes] = []
    at = 0
    while at < len(data):
        (size,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size
        packets.append(data[at : at + size])
        at += size
    return packets


def _described(packets: list[RtpPacket], sdp: str) -> Sent:
    rtpmap = re.search(r"a=rtpmap:\d+ ([^/\s]+)/(\d+)(?:/(\d+))?", sdp)
    fmtp = re.search(r"a=fmtp:\d+ (.*)", sdp)
    pairs = [pair.strip().partition("=") for pair in fmtp.group(1).split(";")] if fmtp else []
    return Sent(
        packets,
        rtpmap.group(1) if rtpmap else "",
        int(rtpmap.group(2)) if rtpmap else 0,
        int(rtpmap.group(3) or 1) if rtpmap else 1,
        {name: value for name, _, value in pairs},
    )
