"""MIKEY, the keys of SRTP in RTSP: RFC 3830 and RFC 4567, with a pre-shared key that is null.

Keys are carried as they are: the channel must be secret, so this is for RTSP over TLS alone.
"""

from protocols.mikey.key_mgmt import KeyManagement, attribute_value, parse_attribute
from protocols.mikey.message import CryptoSession, Message
from protocols.mikey.payload import Kemac, KeyData, RandomValue, SecurityPolicy, Timestamp

__all__ = (
    "Message",
    "CryptoSession",
    "SecurityPolicy",
    "Kemac",
    "KeyData",
    "Timestamp",
    "RandomValue",
    "KeyManagement",
    "attribute_value",
    "parse_attribute",
)
