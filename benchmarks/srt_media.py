"""Transport streams of a wanted rate for the SRT benchmark, and a look at what came of them.

Each is 20 s of test picture with noise, H.264 without B-frames and with a key frame each 2 s, and
AAC at 128 kbit/s; made once by FFmpeg.
"""

from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from benchmarks import media
from benchmarks.native import CACHE
from protocols.srt.cipher import CtrCipher, derive_key
from protocols.srt.key_exchange import seal_keys
from protocols.srt.keys import CipherKind, KeyRing
from protocols.srt.packet import KEY_MASK, SEQUENCE_MASK

SECONDS = 20
PASSPHRASE = "a-passphrase-for-benchmarks"
SALT, STREAM_KEY = bytes(range(16)), bytes(range(100, 116))
SOUND_KBIT = 140  # with its PES headers
# Picture, noise: enough to fill the rate.
PICTURES = {4: ("1280x720", 20), 5: ("1280x720", 20), 10: ("1280x720", 30), 100: ("1920x1080", 80)}
ENTRY = Struct("=III")
TS_PACKET, NULL_PID = 188, 0x1FFF


@dataclass(frozen=True, slots=True)
class Transport:
    """One clip; `mbit` is its rate."""

    path: Path
    seconds: float
    mbit: float


def clip(mbit: int) -> Transport:
    """About so many megabits a second; the first call takes some seconds."""
    folder = CACHE / "media"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"transport-{mbit}.ts"
    if not path.exists():
        size, noise = PICTURES[mbit]
        video = int(mbit * 970 - SOUND_KBIT)  # kbit/s; packets and tables take the rest
        print(f"encoding {SECONDS} s of video into {path}", flush=True)
        media.make(
            [
                *("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25"),
                *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"),
                *("-t", str(SECONDS), "-vf", f"noise=alls={noise}:allf=t,format=yuv420p"),
                *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-bf", "0"),
                *("-g", "50", "-keyint_min", "50", "-sc_threshold", "0", "-b:v", f"{video}k"),
                *("-minrate", f"{video}k", "-maxrate", f"{video}k", "-bufsize", f"{video // 2}k"),
                *("-x264-params", "nal-hrd=vbr", "-c:a", "aac", "-b:a", "128k", "-ac", "2"),
                *("-pcr_period", "40"),
            ],
            path,
        )
    size_bytes = path.stat().st_size
    return Transport(path, SECONDS, size_bytes * 8 / SECONDS / 1e6)


def _ring() -> KeyRing:
    passphrase = PASSPHRASE.encode()
    return KeyRing(CipherKind.CTR, SALT, derive_key(passphrase, SALT, 16), STREAM_KEY, b"")


def key_material() -> str:
    """The body of a KMREQ in hexadecimal: the readers' key under the passphrase."""
    return seal_keys(_ring()).serialize().hex()


def breaks(dump: bytes, is_sealed: bool) -> int:
    """Faults in what one reader got: of sync bytes, of continuity counters; -1: it got nothing."""
    packets: dict[int, bytes] = {}
    cipher = CtrCipher(STREAM_KEY, SALT)
    at = 0
    while at + ENTRY.size <= len(dump):
        sequence, word, size = ENTRY.unpack_from(dump, at)
        at += ENTRY.size
        payload = dump[at : at + size]
        at += size
        if bool(word & KEY_MASK) != is_sealed:
            return -1
        packets[sequence] = cipher.seal(sequence, b"", payload) if is_sealed else payload
    if not packets:
        return -1
    first = next(iter(packets))
    order = sorted(packets, key=lambda number: (number - first + (1 << 30)) & SEQUENCE_MASK)
    data = b"".join(packets[number] for number in order)
    counters: dict[int, int] = {}
    faults = 0
    for start in range(0, len(data), TS_PACKET):
        sync, one, two, three = data[start : start + 4]
        pid = (one & 0x1F) << 8 | two
        faults += sync != 0x47
        if three & 0x10 and pid != NULL_PID:
            counter = three & 15
            faults += counters.get(pid, counter - 1 & 15) != counter - 1 & 15
            counters[pid] = counter
    return faults
