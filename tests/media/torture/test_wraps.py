"""Numbers that begin anew on the way in: 33 bits of a transport stream, 32 and 16 of RTP."""

from collections.abc import Callable

import pytest

from flux.bridges.mpegts import TsReceiver
from flux.bridges.rtp import RtpSessionReceiver, tracks_from_sdp
from media.codecs.aac import AacParameters
from media.codecs.h264 import H264Parameters
from protocols.sdp import SessionDescription
from tests.support.torture.camera import Run, film, usual
from tests.support.torture.judges import Wishes, judge
from tests.support.torture.run import got_of
from tests.support.torture.scenarios import truth_of
from tests.support.torture.stage import NAME, REAL_OUTPUTS, START, Stage
from tests.support.torture.twists import jump
from tests.support.torture.wires import rtp, transport_stream, wire_time

WRAPS_AT = 5.0  # seconds
SDP = """v=0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
m=audio 0 RTP/AVP 97
a=rtpmap:97 mpeg4-generic/44100/1
a=fmtp:97 mode=AAC-hbr;config={config};sizelength=13;indexlength=3;indexdeltalength=3
"""


def sets_of(run: Run) -> tuple[bytes, ...]:
    parameters = run.descriptions[0].parameters
    assert isinstance(parameters, H264Parameters)
    return (*parameters.sps, *parameters.pps)


def sound_of(run: Run) -> AacParameters:
    parameters = run.descriptions[1].parameters
    assert isinstance(parameters, AacParameters)
    return parameters


def over_ts(stage: Stage, run: Run) -> None:
    """The run as a transport stream whose clock wraps after some seconds; nothing is dropped."""
    sound = sound_of(run)
    index = (96_000, 88_200, 64_000, 48_000, 44_100).index(sound.sample_rate)
    channels = sound.channels
    adts = bytes((0xFF, 0xF1, 1 << 6 | index << 2 | channels >> 2, channels << 6 & 0xC0))
    shift = (1 << 33) - run.anchor[0] - round(WRAPS_AT * 90_000)
    ended: list[str] = []
    receiver = TsReceiver(NAME, stage.router, "test", ended.append)
    for arrived, data in transport_stream(run, sets_of(run), adts, shift):
        stage.advance(max(stage.now, START + arrived))
        receiver.receive(data, stage.now)
    assert ended == []
    assert not receiver.drops, receiver.drops


def over_rtp(stage: Stage, run: Run) -> None:
    """The run as interleaved RTP, as it comes from a camera; nothing is dropped."""
    text = SDP.format(config=sound_of(run).config.hex()).replace("\n", "\r\n")
    tracks = tracks_from_sdp(SessionDescription.parse(text.encode())).tracks
    publisher = stage.router.publish(
        NAME, [track.description for track in tracks], now=stage.now, origin="test"
    )
    receiver = RtpSessionReceiver(
        publisher, tracks, reliable=True, ssrc=1, cname="flux", random=lambda: 0.5, now=stage.now
    )
    receiver.anchor({n: wire_time(run, n, run.anchor[n], WRAPS_AT) for n in (0, 1)})
    for arrived, channel, packet in rtp(run, sets_of(run), WRAPS_AT):
        stage.advance(max(stage.now, START + arrived))
        receiver.receive_interleaved([(channel, packet)], stage.now)
    assert set(stage.stream.drops) <= {"timeline-jump"}


def calm() -> Run:
    return film(usual(has_dts=True), 9.0)


def jumps() -> Run:
    """The source's clock jumps just before its numbers wrap: what is 20 s later is behind that."""
    return jump(calm(), 4.0, 20.0)


@pytest.mark.parametrize("way", [over_ts, over_rtp])
@pytest.mark.parametrize("make", [calm, jumps])
def test_outputs_do_not_see_the_wrap(
    way: Callable[[Stage, Run], None], make: Callable[[], Run]
) -> None:
    run, stage = make(), Stage()
    way(stage, run)
    stage.finish()
    assert bool(stage.stream.drops["timeline-jump"]) is (make is jumps)
    told = []
    for output in REAL_OUTPUTS:
        (body,) = stage.players[output].bodies
        problems = judge(output, got_of(body), truth_of([run]), Wishes(lost=1))
        told += [f"{output}: {problem}" for problem in problems]
    assert told == [], "\n".join(told)
