"""What a packet costs in the SRT machine alone: `python -m benchmarks.srt_machine [packets]`.

One connection sends, another receives, in virtual time; each side's calls are timed by the clock of
the process. Batches are what an event loop would bring in a turn.
"""

import os
import sys
import time
from dataclasses import replace

from protocols.srt.connection import Connection
from protocols.srt.keys import CipherKind, KeyRing, KmState
from protocols.srt.options import Options
from protocols.srt.packet import Run
from protocols.srt.result import HandshakeResult, Role, Secrets

PACKETS = 200_000
RATE = 10_000.0  # packets per second of virtual time
DELAY = 0.010
SENDER, RECEIVER = ("198.18.0.1", 4001), ("198.18.0.2", 4002)
RUNS = 3


def connections(secrets: Secrets) -> tuple[Connection, Connection]:
    """A sender and a receiver that agreed."""
    options = Options()
    ours = HandshakeResult(
        role=Role.CALLER,
        peer=RECEIVER,
        socket_id=101,
        peer_socket_id=202,
        send_sequence=1000,
        receive_sequence=5000,
        mode=options.mode,
        receive_latency_ms=120,
        send_latency_ms=120,
        peer_version=0x010505,
        peer_flags=0xBF,
        mtu=1500,
        peer_window=8192,
        congestion="live",
        started_at=0.0,
        peer_started_at=DELAY,
        established_at=0.0,
        secrets=secrets,
    )
    theirs = replace(
        ours,
        role=Role.LISTENER,
        peer=SENDER,
        socket_id=202,
        peer_socket_id=101,
        send_sequence=5000,
        receive_sequence=1000,
    )
    return (
        Connection(ours, options, os.urandom, 0.0),
        Connection(theirs, options, os.urandom, 0.0),
    )


def cut(runs: list[Run]) -> list[bytes]:
    """Datagrams as the kernel cuts them."""
    return [
        data[start : start + segment]
        for _, segment, data in runs
        for start in range(0, len(data), segment)
    ]


def measure(batch: int, secrets: Secrets, packets: int) -> tuple[float, float]:
    """CPU microseconds per packet of the sender and of the receiver."""
    sender, receiver = connections(secrets)
    payload = bytes(1316)
    clock = time.process_time
    send_cost = receive_cost = 0.0
    back: list[bytes] = []
    got = 0
    for turn in range(packets // batch):
        now = 1.0 + turn * batch / RATE
        payloads = [payload] * batch
        began = clock()
        if back:
            sender.receive_datagrams(back, RECEIVER, now)
        sender.send(payloads, now)
        runs = sender.datagrams_to_send(now)
        while sender.next_event() is not None:
            pass
        sender.get_timer()
        send_cost += clock() - began
        datagrams = cut(runs)
        began = clock()
        receiver.receive_datagrams(datagrams, SENDER, now + DELAY)
        while (event := receiver.next_event()) is not None:
            got += len(getattr(event, "payloads", ()))
        runs = receiver.datagrams_to_send(now + DELAY)
        receiver.get_timer()
        receive_cost += clock() - began
        back = cut(runs)
    expected = packets - 0.15 * RATE
    if got < expected:
        raise SystemExit(f"{got} of {packets} packets came")
    return send_cost / packets * 1e6, receive_cost / packets * 1e6


def main() -> None:
    """Print a table."""
    packets = int(sys.argv[1]) if len(sys.argv) > 1 else PACKETS
    ring = KeyRing(CipherKind.CTR, os.urandom(16), os.urandom(16), os.urandom(16))
    gcm = KeyRing(CipherKind.GCM, os.urandom(16), os.urandom(16), os.urandom(16))
    secured = KmState.SECURED
    kinds = {
        "plain": Secrets(),
        "AES-128-CTR": Secrets(secured, secured, ring),
        "AES-128-GCM": Secrets(secured, secured, gcm),
    }
    print("CPU microseconds per packet of 1316 bytes, best of", RUNS)
    for name, secrets in kinds.items():
        for batch in (1, 5, 10, 40):
            results = [measure(batch, secrets, packets) for _ in range(RUNS)]
            send = min(result[0] for result in results)
            receive = min(result[1] for result in results)
            print(f"{name:12} batches of {batch:2}: send {send:5.2f}, receive {receive:5.2f}")


if __name__ == "__main__":
    main()
