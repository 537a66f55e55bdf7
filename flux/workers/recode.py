"""Sound in another codec: `python -m flux.workers.recode` decodes one track and encodes it anew.

Runs in one child process of the server for each track that is made. Both directions speak the wire
form of `media/wire.py`:

    server  HELLO, TRACKS  track 0: the source; track 1: the target (codec, rate, channels)
            TRACK          of track 0, when its parameters change
            FRAME          of track 0, as they come
    worker  HELLO, TRACKS  track 1, as it was asked for
            FRAME          of track 1, with times on the source's line
            DROP           of track 1, for units that cannot be decoded

Time. What is encoded is one row of samples without a hole. It begins at the first unit's time; as
long as the source's own times depart from the count of samples by less than `SLACK`, the count
goes on. Silence makes up for a gap of at most `FILLED`; else the row begins anew at the time of the
unit.
"""

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.error import FFmpegError

from flux.base.errors import WireError
from flux.base.units import NTP_SECOND
from flux.workers.link import Desk, run
from flux.workers.sound_codecs import LAYOUTS, OPUS_FRAME_MS, sound_encoder
from media.codecs.adpcm import G722_SAMPLE_RATE, parse_g726
from media.track import AAC, AC3, EAC3, G722, G726, L16, MP3, OPUS, PCMA, PCMU
from media.wire import (
    FLAG_DISCONTINUITY,
    FLAG_KEY,
    Announcement,
    Message,
    TrackChanged,
    Tracks,
    WireFrame,
)

NAME = "recode"
SOURCE, TARGET = 0, 1  # track ids
SLACK = Fraction(15, 1000)  # seconds
FILLED = Fraction(1, 2)  # seconds

DECODERS = {
    AAC: "aac", OPUS: "libopus", PCMA: "pcm_alaw", PCMU: "pcm_mulaw", L16: "pcm_s16be",
    G722: "g722", G726: "g726", MP3: "mp3float", AC3: "ac3", EAC3: "eac3",
}  # fmt: skip
WITHOUT_HEADERS = (PCMA, PCMU, L16, G722)
ENCODERS = {AAC: ("aac", "fltp"), OPUS: ("libopus", "s16")}
CHANNELS = (1, 2)  # of a target, and of a source that says nothing of itself

UNDECODABLE = "recode-undecodable"


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of the target: ticks of its clock, and what it holds."""

    pts: int
    is_new: bool  # the row of samples begins with it
    data: bytes


class SoundDecoder:
    """Units of the source in, samples of the target's rate and layout out."""

    def __init__(self, source: Announcement, rate: int, channels: int, form: str) -> None:
        """Raises `WireError` for a codec that is not known here, or broken parameters."""
        name = DECODERS.get(source.codec)
        if name is None:
            raise WireError("recode-codec", source.codec)
        context = _g726(source) if source.codec == G726 else av.CodecContext.create(name, "r")
        assert isinstance(context, AudioCodecContext)
        if source.codec in WITHOUT_HEADERS:
            if source.channels not in CHANNELS:
                raise WireError("recode-parameters", f"{source.channels} channels")
            context.sample_rate = G722_SAMPLE_RATE if source.codec == G722 else source.clock_rate
            context.layout = LAYOUTS[source.channels]
        if source.codec in (AAC, OPUS) and source.configuration:
            context.extradata = source.configuration[0]
        try:
            context.open()
        except (FFmpegError, ValueError) as error:
            raise WireError("recode-parameters", str(error)) from None
        self._context = context
        self._wanted = (form, LAYOUTS[channels], rate)
        self._resampler = AudioResampler(*self._wanted)
        self._shape: tuple[str, str, int] | None = None  # of the samples that it takes

    def decode(self, data: bytes) -> list[AudioFrame]:
        """The samples of one unit; raises `WireError` for one that is broken."""
        try:
            frames = self._context.decode(av.Packet(data))
            return [made for frame in frames for made in self._resample(frame)]
        except (FFmpegError, ValueError, MemoryError):
            raise WireError(UNDECODABLE) from None

    def _resample(self, frame: AudioFrame) -> list[AudioFrame]:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._shape not in (None, shape):
            self._resampler = AudioResampler(*self._wanted)
        self._shape = shape
        frame.pts = None  # the row of samples has its own count
        return self._resampler.resample(frame)


def _g726(source: Announcement) -> av.CodecContext:
    """A decoder of G.726; raises `WireError`.

    quirk: it needs AVCodecContext.bits_per_coded_sample, which PyAV sets for none but the streams
    of a container; test: test_the_tone_is_where_it_was
    """
    if source.channels > 1 or not source.configuration:
        raise WireError("recode-parameters", f"{source.channels} channels")
    bits, is_aal2 = parse_g726(source.configuration[0])
    form = "g726" if is_aal2 else "g726le"
    options = {"code_size": str(bits), "sample_rate": str(source.clock_rate)}
    return av.open(BytesIO(bytes(bits)), format=form, options=options).streams[0].codec_context


class SoundEncoder:
    """One row of samples in, units out."""

    def __init__(self, codec: str, rate: int, channels: int) -> None:
        context = sound_encoder(codec, ENCODERS[codec], rate, channels)
        self._context = context
        self._rate = rate
        self._fifo = AudioFifo()
        self._count = 0  # samples of the row that the encoder was given
        self.frame_samples = context.frame_size or rate * OPUS_FRAME_MS // 1000

    def encode(self, frame: AudioFrame) -> Iterator[tuple[int, bytes]]:
        """The units that these samples complete: (place in the row, bytes)."""
        frame.pts = None
        self._fifo.write(frame)
        while (piece := self._fifo.read(self.frame_samples)) is not None:
            piece.pts = self._count
            piece.time_base = Fraction(1, self._rate)
            self._count += self.frame_samples
            for packet in self._context.encode(piece):
                # A unit that lies whole before the row is the encoder's priming. Opus' first unit
                # lies there in part, and decoders cannot do without it.
                if packet.pts is not None and packet.pts > -self.frame_samples:
                    yield packet.pts, bytes(packet)


class Recoder:
    """Units of the source in, units of the target out; both on one line of time."""

    def __init__(self, source: Announcement, target: Announcement) -> None:
        """Raises `WireError` for codecs that are not known."""
        if target.codec not in ENCODERS or target.channels not in CHANNELS:
            raise WireError("recode-target", f"{target.codec} of {target.channels} channels")
        self._target = target
        self._rate = target.clock_rate
        self._start = 0  # ticks of the target's clock where the row begins
        self._samples = 0  # of the row, so far
        self._is_new = False
        self._encoder: SoundEncoder | None = None
        self.change(source)

    def change(self, source: Announcement) -> None:
        """The source's parameters are others from now on."""
        self._source = source
        form = ENCODERS[self._target.codec][1]
        self._decoder = SoundDecoder(source, self._rate, self._target.channels, form)

    def recode(self, frame: WireFrame) -> Iterator[Unit]:
        """What one unit of the source completes; raises `WireError` for one that is broken."""
        at = Fraction(frame.pts, self._source.clock_rate)
        encoder = self._encoder
        late = at - Fraction(self._start + self._samples, self._rate)
        if encoder is None or frame.flags & FLAG_DISCONTINUITY or not -SLACK <= late <= FILLED:
            encoder = self._begin()
        elif late > SLACK and self._samples:
            yield from self._encode(encoder, self._silence(int(late * self._rate)))
        if not self._samples:
            self._start = int(at * self._rate)  # some decoders show nothing of their first units
        for samples in self._decoder.decode(frame.payload[-1]):
            yield from self._encode(encoder, samples)

    def _encode(self, encoder: SoundEncoder, samples: AudioFrame) -> Iterator[Unit]:
        self._samples += samples.samples
        for place, data in encoder.encode(samples):
            yield Unit(self._start + place, self._is_new, data)
            self._is_new = False

    def _silence(self, count: int) -> AudioFrame:
        form, layout = ENCODERS[self._target.codec][1], LAYOUTS[self._target.channels]
        frame = AudioFrame(form, layout, count)
        frame.sample_rate = self._rate
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        return frame

    def _begin(self) -> SoundEncoder:
        """A new row of samples."""
        self.change(self._source)  # a decoder without any past, as the encoder is
        self._encoder = SoundEncoder(self._target.codec, self._rate, self._target.channels)
        self._samples = 0
        self._is_new = True
        return self._encoder


class RecodeDesk(Desk):
    """Takes the source's units and gives the target's; ends with its socket."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._recoder: Recoder | None = None

    def heard(self, message: Message) -> None:
        """Take a unit, or what the units are like."""
        if isinstance(message, WireFrame):
            self._recode(message)
        elif isinstance(message, Tracks):
            self._begin(message)
        elif isinstance(message, TrackChanged) and self._recoder is not None:
            self._source = message.track
            self._recoder.change(message.track)

    def _begin(self, tracks: Tracks) -> None:
        by_id = {track.id: track for track in tracks.tracks}
        if set(by_id) != {SOURCE, TARGET}:
            raise WireError("recode-request")
        self._source, self._target = by_id[SOURCE], by_id[TARGET]
        self._recoder = Recoder(self._source, self._target)
        self.open(NAME, [self._target])

    def _recode(self, frame: WireFrame) -> None:
        recoder = self._recoder
        if recoder is None or frame.track_id != SOURCE or not frame.payload:
            raise WireError("recode-request")
        rate = self._target.clock_rate
        here = frame.pts * rate // self._source.clock_rate
        try:
            for unit in recoder.recode(frame):
                ntp = frame.ntp + (unit.pts - here) * NTP_SECOND // rate
                flags = FLAG_KEY | (FLAG_DISCONTINUITY if unit.is_new else 0)
                self.frame(TARGET, flags, unit.pts, unit.pts, ntp, (unit.data,))
        except WireError as error:
            self.drop(1, error.reason, TARGET)


def main() -> int:
    """The worker's process."""
    av.logging.set_level(av.logging.PANIC)  # broken units are counted, not logged
    return run(NAME, RecodeDesk, RecodeDesk.serve)


if __name__ == "__main__":
    sys.exit(main())
