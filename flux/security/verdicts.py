"""Every refusal that flux/security gives. The reasons do not tell whether a user exists."""

from flux.core.admission import ALLOWED, Verdict

NEEDED = Verdict(False, "credentials-needed", 401, is_quiet=True)  # none were given: not an attack
CLOSED = Verdict(False, "credentials-needed", 403)  # and there are none that would help
WRONG = Verdict(False, "credentials-wrong", 401)
FORBIDDEN = Verdict(False, "permission-denied", 403)  # known, but this is not allowed
DENIED = Verdict(False, "access-denied", 403)  # by the service
BANNED = Verdict(False, "address-banned", 403, is_quiet=True)
BUSY = Verdict(False, "password-check-busy", 503)
STOPPING = Verdict(False, "server-stopping", 503)
SERVICE_BUSY = Verdict(False, "auth-service-busy", 503)
SERVICE_FAILED = Verdict(False, "auth-service-failed", 503)
SERVICE_TIMEOUT = Verdict(False, "auth-service-timeout", 503)
SERVICE_UNREACHABLE = Verdict(False, "auth-service-unreachable", 503)

FAILURES = frozenset({WRONG, DENIED})  # with credentials: counted, and answered with delay

__all__ = (
    "ALLOWED",
    "BANNED",
    "BUSY",
    "CLOSED",
    "DENIED",
    "FAILURES",
    "FORBIDDEN",
    "NEEDED",
    "SERVICE_BUSY",
    "SERVICE_FAILED",
    "SERVICE_TIMEOUT",
    "SERVICE_UNREACHABLE",
    "STOPPING",
    "WRONG",
)
