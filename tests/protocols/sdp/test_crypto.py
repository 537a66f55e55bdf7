"""The a=crypto attribute."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.sdp.crypto import CryptoAttribute, InlineKey

KEY = bytes(range(30))
TEXT = base64.b64encode(KEY).decode()

inline_keys = st.builds(
    InlineKey,
    st.binary(max_size=60),
    st.sampled_from(["", "2^20", "1000"]),
    st.binary(max_size=8),
)
words = st.text(alphabet="ABCDEFGHKR=_0123456789", min_size=1, max_size=20)
attributes = st.builds(
    CryptoAttribute,
    st.integers(0, 999_999_999),
    words,
    st.lists(inline_keys, min_size=1, max_size=4).map(tuple),
    st.lists(words, max_size=3).map(tuple),
)


@given(attributes)
def test_round_trip(attribute: CryptoAttribute) -> None:
    assert CryptoAttribute.parse(str(attribute)) == attribute


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            f"1 AES_CM_128_HMAC_SHA1_80 inline:{TEXT}",
            CryptoAttribute(1, "AES_CM_128_HMAC_SHA1_80", (InlineKey(KEY),)),
        ),
        (  # two keys, lifetimes, MKI
            f"2 F8_128_HMAC_SHA1_80 inline:{TEXT}|2^20|1:4;inline:{TEXT}|2^20|2:4 FEC_ORDER=X",
            CryptoAttribute(
                2,
                "F8_128_HMAC_SHA1_80",
                (InlineKey(KEY, "2^20", b"\0\0\0\1"), InlineKey(KEY, "2^20", b"\0\0\0\2")),
                ("FEC_ORDER=X",),
            ),
        ),
        (
            f"1 AES_CM_128_HMAC_SHA1_32 inline:{TEXT}|1066:4 KDR=1 UNENCRYPTED_SRTCP",
            CryptoAttribute(
                1,
                "AES_CM_128_HMAC_SHA1_32",
                (InlineKey(KEY, "", b"\0\0\x04\x2a"),),
                ("KDR=1", "UNENCRYPTED_SRTCP"),
            ),
        ),
    ],
)
def test_what_is_read(value: str, expected: CryptoAttribute) -> None:
    assert CryptoAttribute.parse(value) == expected


def test_keys_do_not_show() -> None:
    assert TEXT not in repr(CryptoAttribute(1, "X", (InlineKey(KEY),)))
    assert repr(KEY)[2:-1] not in repr(InlineKey(KEY))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "1",
        "1 AES_CM_128_HMAC_SHA1_80",
        f"x AES_CM_128_HMAC_SHA1_80 inline:{TEXT}",
        f"1 AES_CM_128_HMAC_SHA1_80 {TEXT}",
        "1 AES_CM_128_HMAC_SHA1_80 inline:!!",
        "1 AES_CM_128_HMAC_SHA1_80 ;;",
        f"1 A inline:{TEXT}|later",
        f"1 A inline:{TEXT}|256:1",
        f"1 A inline:{TEXT}|1:0",
        f"1 A inline:{TEXT}|1:200",
        f"1234567890 A inline:{TEXT}",
        "1 A " + ";".join([f"inline:{TEXT}"] * 17),
        "1 A inline:" + "A" * 5000,
    ],
)
def test_what_is_refused(value: str) -> None:
    with pytest.raises(WireError) as caught:
        CryptoAttribute.parse(value)
    assert caught.value.reason == "sdp-bad-crypto"


@given(st.text(alphabet="1 AES_CM;inline:|2^=0/+\té٣", max_size=80), st.text(max_size=40))
def test_any_text(value: str, other: str) -> None:
    for text in (value, other, f"1 A inline:{value}", f"{other} inline:{value}|{other}"):
        try:
            CryptoAttribute.parse(text)
        except WireError:
            continue
