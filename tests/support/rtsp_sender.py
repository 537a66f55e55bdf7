"""A scripted publisher over RTSP: ANNOUNCE, SETUP, RECORD, then RTP by hand; and who looks on."""

from base64 import b64encode
from struct import Struct
from typing import TYPE_CHECKING

from media.frame import Frame
from media.output import LEISURE
from media.track import Track
from tests.support.h264_sets import PPS, SPS
from tests.support.rtsp_app import Reply
from tests.support.rtsp_caller import Caller, UdpPair

if TYPE_CHECKING:
    from tests.support.rtsp_stage import Stage

HEADER = Struct("!BBHII")
SETS = ",".join(b64encode(each).decode() for each in (SPS, PPS))
HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=studio\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
VIDEO_SECTION = (
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    f"a=fmtp:96 packetization-mode=1; sprop-parameter-sets={SETS}\r\na=control:streamid=0\r\n"
)
AUDIO_SECTION = "m=audio 0 RTP/AVP 0\r\na=control:streamid=1\r\n"
SDP = HEAD + VIDEO_SECTION + AUDIO_SECTION
TYPES = (96, 0)
CLOCKS = (90_000, 8_000)
SSRCS = (0x1111_1111, 0x2222_2222)
FIRST_SEQUENCE = 65_534  # it wraps soon


class Watcher:
    """An output of a stream that keeps what passes."""

    name = "watcher"
    size_bytes = 0
    leisure = LEISURE

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.ended = ""

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        pass

    def close(self, reason: str) -> None:
        self.ended = reason

    def payloads(self, codec: str) -> list[tuple[bytes, ...]]:
        """What the frames of a codec hold."""
        return [frame.payload for frame in self.frames if frame.track.codec == codec]


class Sender:
    """One publisher. `way` is tcp or udp."""

    def __init__(self, stage: "Stage", caller: Caller, way: str, sdp: str) -> None:
        self.stage = stage
        self.caller = caller
        self.sdp = sdp
        tracks = sdp.count("\r\nm=")
        self.pairs: list[UdpPair] = [stage.pair() for _ in range(tracks)] if way == "udp" else []
        self.tracks = tracks
        self.session = ""
        self.transports: list[str] = []  # of the replies
        self._counts = [0] * tracks

    @classmethod
    async def start(
        cls, stage: "Stage", way: str = "tcp", name: str = "studio", sdp: str = SDP
    ) -> "Sender":
        """A publisher that may send."""
        sender = cls(stage, await stage.call(name), way, sdp)
        for reply in (
            await sender.announce(),
            *[await sender.set_up(t) for t in range(sender.tracks)],
        ):
            assert reply.status == 200, reply
        reply = await sender.record()
        assert reply.status == 200, reply
        return sender

    async def announce(self) -> Reply:
        """ANNOUNCE."""
        reply = await self.caller.ask(
            "ANNOUNCE", body=self.sdp.encode(), Content_Type="application/sdp"
        )
        self.session = reply.session
        return reply

    async def set_up(self, track: int, transport: str = "") -> Reply:
        """SETUP of one track."""
        tcp = f"RTP/AVP/TCP;unicast;interleaved={2 * track}-{2 * track + 1}"
        own = transport or (self.pairs[track].offer if self.pairs else tcp)
        reply = await self.caller.ask(
            "SETUP",
            f"{self.caller.url}/streamid={track}",
            Transport=f"{own};mode=record",
            Session=self.session,
        )
        self.transports.append(reply.headers.get("transport", ""))
        return reply

    async def record(self) -> Reply:
        """RECORD."""
        return await self.caller.ask("RECORD", Session=self.session, Range="npt=0.000-")

    def packet(self, track: int, payload: bytes, *, seconds: float, marker: bool = True) -> bytes:
        """The next RTP packet of a track."""
        sequence = (FIRST_SEQUENCE + self._counts[track]) & 0xFFFF
        self._counts[track] += 1
        kind = TYPES[track] | 0x80 * marker
        stamp = round(seconds * CLOCKS[track]) & 0xFFFF_FFFF
        return HEADER.pack(0x80, kind, sequence, stamp, SSRCS[track]) + payload

    def send(self, track: int, data: bytes, *, is_rtcp: bool = False) -> None:
        """One packet, the way that was set up."""
        if self.pairs:
            self.pairs[track].send(int(is_rtcp), data, self.stage.rtp_port + is_rtcp)
        else:
            self.caller.send_frame(2 * track + is_rtcp, data)

    def frame(self, number: int, *, key: bool = False, size: int = 200) -> None:
        """A picture and its sound, 40 ms each."""
        at = 1.0 + 0.04 * number
        head = b"\x65\x88" if key else b"\x41\x9a"
        self.send(0, self.packet(0, head + bytes((number,)) * size, seconds=at))
        if self.tracks > 1:
            self.send(1, self.packet(1, bytes((number,)) * 320, seconds=at))

    def heard(self, track: int) -> list[bytes]:
        """RTCP that came for a track."""
        return self.pairs[track].rtcp if self.pairs else self.caller.packets(2 * track + 1)
