"""A player that is scripted step by step, by TCP or by UDP, and what its packets say."""

import re
from collections.abc import Sequence
from itertools import pairwise

from protocols.rtcp import Goodbye, RtcpPacket, SenderReport, parse_compound
from protocols.rtp import RtpPacket
from tests.support.rtsp_app import TCP_01, TCP_23, Reply
from tests.support.rtsp_caller import Caller, UdpPair, until
from tests.support.rtsp_stage import NAME, Stage

KEY_UNIT = 24  # STAP-A, RFC 6184 section 5.7.1: the parameter sets before a key frame
INFO = re.compile(r"url=([^;]+);seq=(\d+);rtptime=(\d+)")


def rtp(packets: Sequence[bytes]) -> list[RtpPacket]:
    return [RtpPacket.parse(data) for data in packets]


def reports(packets: Sequence[bytes]) -> list[RtcpPacket]:
    return [report for data in packets for report in parse_compound(data)]


def sender_reports(packets: Sequence[bytes]) -> list[SenderReport]:
    return [report for report in reports(packets) if isinstance(report, SenderReport)]


def goodbyes(packets: Sequence[bytes]) -> list[int]:
    return [
        ssrc for report in reports(packets) if isinstance(report, Goodbye) for ssrc in report.ssrcs
    ]


def is_unbroken(packets: Sequence[RtpPacket]) -> bool:
    return all((two.sequence - one.sequence) & 0xFFFF == 1 for one, two in pairwise(packets))


def is_key(packet: RtpPacket) -> bool:
    return packet.payload[0] & 31 == KEY_UNIT


def info_of(reply: Reply) -> dict[str, tuple[int, int]]:
    """RTP-Info: sequence and timestamp by URL."""
    return {url: (int(seq), int(time)) for url, seq, time in INFO.findall(reply["RTP-Info"])}


class Player:
    """A client that plays by TCP or by UDP; `packets` and `reports` by track."""

    def __init__(self, stage: Stage, caller: Caller, pairs: Sequence[UdpPair]) -> None:
        self.stage = stage
        self.caller = caller
        self.pairs = pairs
        self.session = ""
        self.reply: Reply

    @classmethod
    async def start(cls, stage: Stage, way: str, query: str = "", name: str = NAME) -> "Player":
        pairs = [stage.pair(), stage.pair()] if way == "udp" else []
        player = cls(stage, await stage.call(name, query), pairs)
        player.session = await player.caller.set_up(*player.offers)
        player.reply = await player.caller.ask("PLAY", Session=player.session)
        assert player.reply.status == 200
        return player

    @property
    def offers(self) -> list[str]:
        return [pair.offer for pair in self.pairs] or [TCP_01, TCP_23]

    def packets(self, track: int) -> list[RtpPacket]:
        if self.pairs:
            return rtp(self.pairs[track].rtp)
        return rtp(self.caller.packets(2 * track))

    def reports(self, track: int) -> list[bytes]:
        return self.pairs[track].rtcp if self.pairs else self.caller.packets(2 * track + 1)

    def report(self, track: int, data: bytes) -> None:
        if self.pairs:
            self.pairs[track].send(1, data, self.stage.rtp_port + 1)
        else:
            self.caller.send_frame(2 * track + 1, data)

    async def until(self, track: int, number: int) -> list[RtpPacket]:
        """Wait for so many packets."""
        await until(lambda: len(self.packets(track)) >= number, f"{number} of track {track}")
        return self.packets(track)

    async def until_reports(self, track: int, number: int) -> None:
        """Wait for so many compounds, and no more."""
        await until(lambda: len(self.reports(track)) == number, f"{number} reports of {track}")

    async def until_goodbye(self, track: int) -> None:
        """Wait for BYE of a track."""
        await until(lambda: len(goodbyes(self.reports(track))) == 1, f"no BYE of {track}")
