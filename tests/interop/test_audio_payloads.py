"""Sound over RTP, both ways, against GStreamer and two ffmpegs: the same bytes on both sides."""

from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import pytest

from media.codecs.aac import AacParameters
from media.codecs.adpcm import G722Parameters, G726Parameters
from media.codecs.opus import OpusParameters
from media.codecs.tracker import tracker_for
from media.parameters import Parameters
from media.payloads.base import Unit
from media.payloads.encodings import encoding_for
from media.payloads.formats import fmtp_for, packetizer_for, payload_format
from media.payloads.latm import LatmPacketizer
from media.payloads.latm import fmtp_from_parameters as latm_fmtp
from media.track import Kind, Track
from protocols.sdp.media import STATIC_PAYLOADS
from tests.support.payloads import Drops
from tests.support.rtp_peers import (
    RtpPacket,
    Sent,
    fmtp_text,
    read_by_ffmpeg,
    read_by_gstreamer,
    sent_by_ffmpeg,
    sent_by_gstreamer,
)
from tests.support.sounds import ogg_packets, raw_frames, sound

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

PROGRAMS = {"ffmpeg-5.1": "ffmpeg", "ffmpeg-new": imageio_ffmpeg.get_ffmpeg_exe()}
ASC = bytes.fromhex("1190")  # AAC-LC, 48 kHz, stereo
MPEG_PARSE = "! mpegaudioparse ! rtpmpapay"
ADPCM = "! audio/x-adpcm,layout=g726,channels=1,rate=8000,bitrate={}000 ! rtpg726pay"
PCM = "! audio/x-raw,format=S16BE,layout=interleaved,rate={},channels=2 ! rtpL16pay"


def plain(name: str) -> bytes:
    """What all frames of a sound are, one after the other."""
    data = sound(name)
    if name.startswith("aac"):
        return b"".join(raw_frames(data))
    return b"".join(ogg_packets(data)) if name == "opus" else data


def received(sent: Sent) -> tuple[list[Unit], Parameters | None, list[str]]:
    """What FLUX makes of the packets of a sender: units, last parameters, drops."""
    first = sent.packets[0]
    encoding, rate, channels = sent.encoding, sent.clock_rate, sent.channels
    if not encoding:
        encoding, rate, channels = STATIC_PAYLOADS[first.payload_type]
    found = payload_format(encoding, rate, channels, sent.fmtp)
    drops = Drops()
    depacketizer = found.depacketizer(drops)
    tracker = tracker_for(Track(0, Kind.AUDIO, found.codec, found.clock_rate, found.parameters))
    units: list[Unit] = []
    for packet in sent.packets:
        sequence = packet.sequence - first.sequence & 0xFFFF
        timestamp = packet.timestamp - first.timestamp & 0xFFFFFFFF
        units += [
            Unit(unit.timestamp, tracker.inspect(unit.payload).payload)
            for unit in depacketizer.push(packet.payload, packet.marker, sequence, timestamp)
        ]
    return units, tracker.parameters, drops.reasons


def joined(units: list[Unit]) -> bytes:
    return b"".join(piece for unit in units for piece in unit.payload)


@pytest.mark.parametrize(
    ("name", "elements", "count", "ticks"),
    [
        ("mp3", MPEG_PARSE, 43, 2160),
        ("mp3", f"{MPEG_PARSE} mtu=400", 43, 2160),
        ("mp3-vbr", MPEG_PARSE, 40, 2351),
        ("mp3-22k", MPEG_PARSE, 41, 2351),
        ("mp3-8k", MPEG_PARSE, 16, 6480),
        ("mp2", f"{MPEG_PARSE} mtu=600", 42, 2160),
        ("ac3", "! ac3parse ! rtpac3pay", 32, 1536),
        ("ac3", "! ac3parse ! rtpac3pay mtu=300", 32, 1536),
        ("ac3-44k", "! ac3parse ! rtpac3pay", 29, 1536),
        ("ac3-51", "! ac3parse ! rtpac3pay", 32, 1536),
        ("g722", "blocksize=320 ! audio/G722,rate=16000,channels=1 ! rtpg722pay", 25, 0),
        ("l16", PCM.format(48000), 0, 0),
        ("l16-44k", PCM.format(44100), 0, 0),
        ("aac", "! aacparse ! rtpmp4apay", 48, 1024),
        ("aac-large", "! aacparse ! rtpmp4apay mtu=300", 48, 1024),
        ("aac", "! aacparse ! rtpmp4gpay", 48, 1024),
        ("aac-large", "! aacparse ! rtpmp4gpay mtu=300", 48, 1024),
        ("aac-51", "! aacparse ! rtpmp4gpay", 48, 1024),
        ("opus", "! oggdemux ! opusparse ! rtpopuspay", 51, 960),
        ("pcma", "blocksize=160 ! audio/x-alaw,rate=8000,channels=1 ! rtppcmapay", 50, 0),
        ("pcmu", "blocksize=160 ! audio/x-mulaw,rate=8000,channels=1 ! rtppcmupay", 50, 0),
        *((f"aal2-g726-{k}", ADPCM.format(k) + f" ! application/x-rtp,encoding-name=AAL2-G726-{k}",
           0, 0) for k in (16, 24, 32, 40)),
    ],
)  # fmt: skip
def test_gstreamer_sends(name: str, elements: str, count: int, ticks: int, tmp_path: Path) -> None:
    units, parameters, drops = received(sent_by_gstreamer(sound(name), elements, tmp_path))
    assert joined(units) == plain(name)
    assert (drops, len(units)) == ([], count or len(units))
    assert parameters is not None
    steps = [other.timestamp - unit.timestamp for unit, other in pairwise(units)]
    assert not ticks or all(abs(step - ticks) <= 1 for step in steps[1:-1])


# Its 24 and 40 kbit/s in this order are not what RFC 3551 section 4.5.4 draws (ffmpeg's are).
@pytest.mark.parametrize("k", [16, 32])
def test_gstreamer_turns_the_samples_of_a_byte_around(k: int, tmp_path: Path) -> None:
    elements = f"{ADPCM.format(k)} force-aal2=false ! application/x-rtp,encoding-name=G726-{k}"
    units, parameters, drops = received(
        sent_by_gstreamer(sound(f"aal2-g726-{k}"), elements, tmp_path)
    )
    assert isinstance(parameters, G726Parameters)
    assert (parameters.is_aal2, parameters.bit_rate) == (False, 1000 * k)
    assert (joined(units), drops) == (sound(f"g726-{k}"), [])


def test_gstreamer_sends_and_reads_six_channels_of_opus(tmp_path: Path) -> None:
    elements = "! rawaudioparse format=pcm pcm-format=s16be sample-rate=48000 num-channels=6 "
    elements += "! audioconvert ! opusenc ! rtpopuspay"
    units, parameters, drops = received(sent_by_gstreamer(sound("l16"), elements, tmp_path))
    assert isinstance(parameters, OpusParameters)
    assert (parameters.channels, parameters.stream_count, parameters.coupled_count) == (6, 4, 2)
    assert sorted(parameters.mapping) == list(range(6))
    assert len(units) > 10
    assert drops == []
    frames = [unit.payload[0] for unit in units]
    packets, rtpmap, fmtp = packets_of("opus", frames, parameters, 48000, 960)
    quoted = {name: f'"{value}"' for name, value in fmtp.items()}
    caps = caps_of(packets, rtpmap, quoted)
    assert read_by_gstreamer(packets, caps, "rtpopusdepay", tmp_path) == joined(units)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("name", "source", "options", "output"),
    [
        ("mp3", "mp3", "-f mp3", ""),
        ("mp3-vbr", "mp3-vbr", "-f mp3", ""),
        ("mp3", "mp3", "-f mp3", "-pkt_size 300"),
        ("mp2", "mp2", "-f mp3", ""),
        ("g722", "g722", "-f g722", ""),
        ("l16", "l16", "-f s16be -ar 48000 -ac 2", ""),
        ("l16-44k", "l16-44k", "-f s16be -ar 44100 -ac 2", ""),
        ("pcma", "pcma", "-f alaw -ar 8000 -ac 1", ""),
        ("pcmu", "pcmu", "-f mulaw -ar 8000 -ac 1", ""),
        ("aac", "aac-mkv", "", "-rtpflags latm"),
        ("aac-large", "aac-large-mkv", "", "-rtpflags latm -pkt_size 300"),
        ("aac", "aac-mkv", "", ""),
        ("aac-large", "aac-large-mkv", "", "-pkt_size 300"),
        ("opus", "opus", "", ""),
        *(
            (f"g726-{8 * n}", f"g726-{8 * n}", f"-f g726le -code_size {n}", "")
            for n in (2, 3, 4, 5)
        ),
        ("aal2-g726-24", "aal2-g726-24", "-f g726 -code_size 3", ""),
    ],
)
def test_ffmpeg_sends(
    name: str, source: str, options: str, output: str, program: str, tmp_path: Path
) -> None:
    sent = sent_by_ffmpeg(PROGRAMS[program], sound(source), options, output, tmp_path)
    units, parameters, drops = received(sent)
    data, expected = joined(units), plain(name)
    # It keeps the last frames of MPEG audio and AAC to itself, waiting for more for the packet.
    is_held = name.startswith("mp") or sent.encoding == "MPEG4-GENERIC"
    assert expected.startswith(data)
    assert len(expected) - len(data) < (2000 if is_held else 1)
    assert drops == []
    assert parameters is not None


def packets_of(
    name: str, frames: list[bytes], parameters: Parameters | None, clock_rate: int, step: int
) -> tuple[list[RtpPacket], str, dict[str, str]]:
    """FLUX's packets of some frames, with rtpmap and fmtp; MTU is small, so that all are cut."""
    track = Track(0, Kind.AUDIO, name, clock_rate, parameters)
    tracker = tracker_for(track)
    tracker.inspect((frames[0],))
    track.parameters = tracker.parameters
    encoding = encoding_for(track)
    assert encoding is not None
    packetizer = packetizer_for(name, 500)
    number = 96 if encoding.payload_type is None else encoding.payload_type
    packets: list[RtpPacket] = []
    for index, frame in enumerate(frames):
        for payload, marker in packetizer.packetize((frame,)):
            stamp = 0xFFFFF000 + index * step
            packets.append(RtpPacket(payload, marker, number, 65500 + len(packets), stamp))
    channels = f"/{encoding.channels}" if encoding.channels > 1 else ""
    rtpmap = f"{encoding.name}/{encoding.clock_rate}{channels}"
    return packets, rtpmap, fmtp_for(track.parameters)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def frames_of(name: str) -> list[bytes]:
    """The frames of a sound, as FLUX would have them."""
    data = sound(name)
    if name.startswith("aac"):
        return raw_frames(data)
    if name == "opus":
        return ogg_packets(data)
    constant = {"mp3": 960, "mp2": 1152, "ac3": 2560, "ac3-51": 1792}
    if name not in constant:
        return cut(data, {"l16": 480, "g722": 160, "pcma": 160, "pcmu": 160}.get(name, 60))
    frames = cut(data, constant[name])
    assert {frame[:2] for frame in frames} == {data[:2]}  # sync words
    return frames


AAC = AacParameters.build(ASC, 48000)
TO_GSTREAMER = [
    ("mp3", "mp3", None, 90000, 2160, "rtpmpadepay"),
    ("mp2", "mp3", None, 90000, 2160, "rtpmpadepay"),
    ("ac3", "ac3", None, 48000, 1536, "rtpac3depay"),
    ("ac3-51", "ac3", None, 48000, 1536, "rtpac3depay"),
    ("g722", "g722", G722Parameters(sample_rate=16000, channels=1), 8000, 160, "rtpg722depay"),
    ("l16", "l16", None, 48000, 120, "rtpL16depay"),
    ("pcma", "pcma", None, 8000, 160, "rtppcmadepay"),
    ("pcmu", "pcmu", None, 8000, 160, "rtppcmudepay"),
    ("aac", "aac", AAC, 48000, 1024, "rtpmp4gdepay"),
    ("aac-large", "aac", AAC, 48000, 1024, "rtpmp4gdepay"),
    ("opus", "opus", None, 48000, 960, "rtpopusdepay"),
]


@pytest.mark.parametrize(("name", "codec", "parameters", "rate", "step", "element"), TO_GSTREAMER)
def test_gstreamer_reads(
    name: str,
    codec: str,
    parameters: Parameters | None,
    rate: int,
    step: int,
    element: str,
    tmp_path: Path,
) -> None:
    if codec in ("l16", "pcma", "pcmu", "opus"):
        parameters = payload_format(codec, rate, 2 if codec == "l16" else 1, {}).parameters
    packets, rtpmap, fmtp = packets_of(codec, frames_of(name), parameters, rate, step)
    heard = read_by_gstreamer(packets, caps_of(packets, rtpmap, fmtp), element, tmp_path)
    assert heard == plain(name)


def caps_of(packets: list[RtpPacket], rtpmap: str, fmtp: dict[str, str]) -> str:
    """A description as GStreamer writes it."""
    encoding, _, rate = rtpmap.partition("/")
    rate, _, channels = rate.partition("/")
    fields = {"payload": f"(int){packets[0].payload_type}", "clock-rate": f"(int){rate}"}
    fields["encoding-name"] = f"(string){encoding.upper()}"
    if channels:
        fields["encoding-params"] = f"(string){channels}"
        fields["channels"] = f"(int){channels}"
    fields |= {name: f"(string){value}" for name, value in fmtp.items()}
    return ",".join(f"{name}={value}" for name, value in fields.items())


@pytest.mark.parametrize(
    ("k", "is_aal2"),
    [(16, False), (32, False), (16, True), (24, True), (32, True), (40, True)],
)
def test_gstreamer_reads_g726(k: int, is_aal2: bool, tmp_path: Path) -> None:
    parameters = G726Parameters(sample_rate=8000, channels=1, bits=k // 8, is_aal2=is_aal2)
    name = f"aal2-g726-{k}" if is_aal2 else f"g726-{k}"
    packets, rtpmap, fmtp = packets_of("g726", frames_of(name), parameters, 8000, 160)
    element = "rtpg726depay" if is_aal2 else "rtpg726depay force-aal2=false"
    heard = read_by_gstreamer(packets, caps_of(packets, rtpmap, fmtp), element, tmp_path)
    assert heard == sound(f"aal2-g726-{k}")  # it gives its decoder this order always


def test_gstreamer_reads_latm(tmp_path: Path) -> None:
    packets = latm_packets("aac-large")
    caps = caps_of(packets, "MP4A-LATM/48000/2", latm_fmtp(AAC))
    heard, expected = read_by_gstreamer(packets, caps, "rtpmp4adepay", tmp_path), plain("aac-large")
    # Of the first element it leaves the length in, also of those of its own payloader.
    size = len(heard) - len(expected)
    assert heard[:size] == packets[0].payload[:size]
    assert heard[size:] == expected


def latm_packets(name: str) -> list[RtpPacket]:
    packetizer = LatmPacketizer(500)
    packets: list[RtpPacket] = []
    for index, frame in enumerate(frames_of(name)):
        for payload, marker in packetizer.packetize((frame,)):
            packets.append(RtpPacket(payload, marker, 96, len(packets), 1024 * index))
    return packets


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("name", "codec", "rate", "step", "output"),
    [
        ("mp3", "mp3", 90000, 2160, "-f mp3 -write_xing 0 -id3v2_version 0"),
        ("mp2", "mp3", 90000, 2160, "-f mp2"),
        ("ac3", "ac3", 48000, 1536, "-f ac3"),
        ("ac3-51", "ac3", 48000, 1536, "-f ac3"),
        ("g722", "g722", 8000, 160, "-f g722"),
        ("l16", "l16", 48000, 120, "-f s16be"),
        ("pcma", "pcma", 8000, 160, "-f alaw"),
        ("pcmu", "pcmu", 8000, 160, "-f mulaw"),
        ("aac", "aac", 48000, 1024, "-f adts"),
        ("aac-large", "aac", 48000, 1024, "-f adts"),
        ("opus", "opus", 48000, 960, "-f ogg"),
        *((f"g726-{k}", "g726", 8000, 96, "-f g726le") for k in (16, 24, 32, 40)),
        ("aal2-g726-24", "g726", 8000, 160, "-f g726"),
    ],
)
def test_ffmpeg_reads(
    name: str, codec: str, rate: int, step: int, output: str, program: str, tmp_path: Path
) -> None:
    encoding = name if codec == "g726" else codec
    known: Parameters | None = AAC
    if codec != "aac":
        known = payload_format(encoding, rate, 2 if codec == "l16" else 1, {}).parameters
    packets, rtpmap, fmtp = packets_of(codec, frames_of(name), known, rate, step)
    heard = read_by_ffmpeg(
        PROGRAMS[program], packets, rtpmap, fmtp_text(fmtp), f"-c copy {output}", tmp_path
    )
    if codec == "aac":
        heard = b"".join(raw_frames(heard))
    elif codec == "opus":
        heard = b"".join(ogg_packets(heard))
    assert heard == plain(name)


@pytest.mark.parametrize("program", PROGRAMS)
def test_ffmpeg_reads_latm(program: str, tmp_path: Path) -> None:
    heard = read_by_ffmpeg(
        PROGRAMS[program],
        latm_packets("aac-large"),
        "MP4A-LATM/48000/2",
        fmtp_text(latm_fmtp(AAC)),
        "-c copy -copyinkf -f adts",  # its LATM reader marks no key frames
        tmp_path,
    )
    assert b"".join(raw_frames(heard)) == plain("aac-large")
