"""Short pieces of sound in every codec, made by ffmpeg once a test run; nothing of FLUX is used."""

import subprocess
from functools import cache

# One second of a tone and of noise: frames differ, and none is silence.
SOURCE = (
    "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=1 "
    "-f lavfi -i anoisesrc=r=48000:d=1:a=0.3:seed=1 -filter_complex [0][1]amerge=inputs=2"
)
MP3 = "-c:a libmp3lame -write_xing 0 -id3v2_version 0 -f mp3"
MONO_8 = "-ar 8000 -ac 1"
SOUNDS = {
    "mp3": f"{MP3} -b:a 320k",
    "mp3-vbr": f"{MP3} -q:a 4 -ar 44100",
    "mp3-22k": f"{MP3} -b:a 32k -ac 1 -ar 22050",
    "mp3-8k": f"{MP3} -b:a 16k -ac 1 -ar 8000",
    "mp2": "-c:a mp2 -b:a 384k -f mp2",
    "ac3": "-c:a ac3 -b:a 640k -f ac3",
    "ac3-44k": "-c:a ac3 -b:a 96k -ar 44100 -f ac3",
    "ac3-51": "-c:a ac3 -b:a 448k -ac 6 -f ac3",
    "eac3": "-c:a eac3 -b:a 384k -f eac3",
    "eac3-51": "-c:a eac3 -b:a 256k -ac 6 -f eac3",
    "g722": "-c:a g722 -ar 16000 -ac 1 -f g722",
    "l16": "-c:a pcm_s16be -f s16be",
    "l16-44k": "-c:a pcm_s16be -ar 44100 -f s16be",
    "pcma": f"-c:a pcm_alaw {MONO_8} -f alaw",
    "pcmu": f"-c:a pcm_mulaw {MONO_8} -f mulaw",
    "aac": "-c:a aac -b:a 128k -f adts",
    "aac-large": "-c:a aac -b:a 512k -f adts",
    # The same frames in a file whose header has the configuration.
    "aac-mkv": "-c:a aac -b:a 128k -f matroska",
    "aac-large-mkv": "-c:a aac -b:a 512k -f matroska",
    "aac-51": "-c:a aac -b:a 384k -ac 6 -f adts",
    "opus": "-c:a libopus -f ogg",
    **{f"g726-{k}": f"-c:a g726le -b:a {k}k {MONO_8} -f g726le" for k in (16, 24, 32, 40)},
    **{f"aal2-g726-{k}": f"-c:a g726 -b:a {k}k {MONO_8} -f g726" for k in (16, 24, 32, 40)},
}


@cache
def sound(name: str) -> bytes:
    """The file of one of `SOUNDS`."""
    command = f"ffmpeg -nostdin -v error -bitexact {SOURCE} {SOUNDS[name]} -fflags +bitexact pipe:1"
    return subprocess.run(command.split(), check=True, stdout=subprocess.PIPE, timeout=60).stdout


def raw_frames(adts: bytes) -> list[bytes]:
    """The frames of an ADTS file without their headers of 7 bytes."""
    frames: list[bytes] = []
    at = 0
    while at < len(adts):
        size = int.from_bytes(adts[at + 3 : at + 6], "big") >> 5 & 0x1FFF
        frames.append(adts[at + 7 : at + size])
        at += size
    return frames


def ogg_packets(data: bytes) -> list[bytes]:
    """The packets of an Ogg file with one stream (RFC 3533), less its two headers."""
    packets: list[bytes] = []
    at, part = 0, b""
    while at < len(data):
        count = data[at + 26]
        lacing = data[at + 27 : at + 27 + count]
        at += 27 + count
        for size in lacing:
            part += data[at : at + size]
            at += size
            if size < 255:
                packets.append(part)
                part = b""
    return packets[2:]
