"""Whose datagrams are taken: announced ports, other ports, other hosts."""

from hypothesis import given
from hypothesis import strategies as st

from protocols.rtsp.senders import MAX_HELD_BYTES, SILENT_AFTER, Batch, SenderGuard

CAMERA = "10.0.0.9"
PATIENCE = 0.2


def guard(
    port: int | None = 6970, ssrc: int | None = None, *, is_rtcp: bool = False
) -> SenderGuard:
    return SenderGuard(CAMERA, port, ssrc, PATIENCE, is_rtcp=is_rtcp)


def rtp(number: int, ssrc: int = 7) -> Batch:
    return float(number), [bytes([0x80, 96, 0, number, 0, 0, 0, 0]) + ssrc.to_bytes(4, "big")]


def test_the_announced_port_is_taken_at_once() -> None:
    it = guard()
    assert it.admit(CAMERA, 6970, rtp(1), 1.0) == (rtp(1),)
    assert it.get_timer() is None


def test_other_hosts_never_are() -> None:
    it = guard(None)
    assert it.admit("10.0.0.8", 6970, rtp(1), 1.0) == ()
    assert it.foreign == 1


def test_another_port_is_taken_once_the_announced_one_stayed_silent() -> None:
    it = guard()
    assert it.admit(CAMERA, 40000, rtp(1), 1.0) == ()
    assert it.admit(CAMERA, 40000, rtp(2), 1.1) == ()
    assert it.get_timer() == 1.0 + PATIENCE
    assert it.handle_timer(1.1) == ()
    assert list(it.handle_timer(1.0 + PATIENCE)) == [rtp(1), rtp(2)]
    assert it.admit(CAMERA, 40000, rtp(3), 1.3) == (rtp(3),)
    assert it.foreign == 0
    assert it.port == 40000


def test_traffic_alone_ends_the_wait() -> None:
    it = guard()
    it.admit(CAMERA, 40000, rtp(1), 1.0)
    assert list(it.admit(CAMERA, 40000, rtp(2), 1.5)) == [rtp(1), rtp(2)]


def test_the_announced_port_wins_while_others_wait() -> None:
    it = guard()
    it.admit(CAMERA, 40000, rtp(1), 1.0)
    assert it.admit(CAMERA, 6970, rtp(2), 1.1) == (rtp(2),)
    assert it.get_timer() is None
    assert it.admit(CAMERA, 40000, rtp(3), 1.2) == ()
    assert it.foreign == 2


def test_the_announced_ssrc_is_known_from_any_port() -> None:
    it = guard(ssrc=0xCAFE)
    assert it.admit(CAMERA, 40000, rtp(1, 0xCAFE), 1.0) == (rtp(1, 0xCAFE),)
    reports = guard(6971, ssrc=0xCAFE, is_rtcp=True)
    report = (1.0, [b"\x80\xc8\0\1" + (0xCAFE).to_bytes(4, "big")])
    assert reports.admit(CAMERA, 40001, report, 1.0) == (report,)


def test_without_an_announced_port_the_first_that_sends_counts() -> None:
    it = guard(None)
    assert it.admit(CAMERA, 40000, rtp(1), 1.0) == (rtp(1),)
    assert it.admit(CAMERA, 40002, rtp(2), 1.1) == ()
    assert it.foreign == 1


def test_a_sender_that_moves_is_followed_after_a_silence() -> None:
    it = guard()
    it.admit(CAMERA, 6970, rtp(1), 1.0)
    later = 1.0 + SILENT_AFTER
    assert it.admit(CAMERA, 40000, rtp(2), later) == ()
    assert list(it.admit(CAMERA, 40000, rtp(3), later + PATIENCE)) == [rtp(2), rtp(3)]


def test_what_is_held_is_bounded() -> None:
    it = guard()
    large = (1.0, [bytes(MAX_HELD_BYTES // 2)])
    for _ in range(3):
        assert it.admit(CAMERA, 40000, large, 1.0) == ()
    assert it.foreign == 1
    assert len(it.handle_timer(2.0)) == 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from([CAMERA, "10.0.0.8"]),
            st.sampled_from([6970, 40000, 40002]),
            st.binary(max_size=16),
            st.floats(0, 3),
        )
    )
)
def test_nothing_is_lost_uncounted(packets: list[tuple[str, int, bytes, float]]) -> None:
    it = guard(ssrc=1)
    now, given_out = 0.0, 0
    for host, port, data, step in packets:
        now += step
        given_out += sum(len(each) for _, each in it.admit(host, port, (now, [data]), now))
    given_out += sum(len(each) for _, each in it.handle_timer(now + PATIENCE))
    assert given_out + it.foreign == len(packets)
