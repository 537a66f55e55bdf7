"""A publisher whose stream has pictures and two tracks of sound that can be told apart.

English is a tone of 440 Hz, German one of 880 Hz. It comes as MPEG-TS over SRT, where tracks have
languages.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.support.flux_process import FluxProcess
from tests.support.program import Program

TONES = {"en": 440, "de": 880}
SOURCE = "-re -f lavfi -i testsrc2=s=320x180:r=25"
VIDEO = "-c:v libx264 -preset ultrafast -tune zerolatency -bf 2 -g 25 -keyint_min 25 -b:v 300k"


def command(
    urls: Sequence[str], codecs: Sequence[str], languages: Sequence[str], filters: str
) -> list[str]:
    """The ffmpeg that publishes to these SRT URLs."""
    words = ["ffmpeg", "-nostdin", "-v", "error", *SOURCE.split()]
    for tone in list(TONES.values())[: len(codecs)]:
        words += f"-f lavfi -i sine=frequency={tone}:sample_rate=48000".split()
    words += [word for n in range(1 + len(codecs)) for word in ("-map", str(n))]
    words += [*VIDEO.split(), "-ac", "2"]
    if filters:
        # Without B-frames, for which an encoder would wait as long as for other pictures.
        words += ["-vf", filters, "-fps_mode", "vfr", "-bf", "0"]
        words += ["-force_key_frames", "expr:gte(t,n_forced*2)"]
    for number, (codec, language) in enumerate(zip(codecs, languages, strict=False)):
        words += [f"-c:a:{number}", codec, f"-metadata:s:a:{number}", f"language={language}"]
    return [*words, "-f", "tee", "|".join(f"[f=mpegts:pes_payload_size=0]{url}" for url in urls)]


@contextmanager
def two_voices(
    flux: FluxProcess,
    names: Sequence[str],
    codecs: Sequence[str] = ("aac", "aac"),
    languages: Sequence[str] = ("eng", "deu"),
    filters: str = "",
) -> Iterator[None]:
    """The streams of these names, while they are published; `filters` are for the pictures.

    With one codec there is only the first voice.
    """
    urls = [flux.srt(f"publish:{name}") for name in names]
    program = Program(command(urls, codecs, languages, filters))
    try:
        flux.wait_until(
            lambda: all(flux.stream(name)["state"] == "ready" for name in names), "they are ready"
        )
        yield
    finally:
        program.stop()
