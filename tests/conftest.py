"""Settings of all tests."""

from hypothesis import HealthCheck, settings

# The machines that run this are small and shared: a slow example says nothing about the code.
settings.register_profile(
    "flux", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("flux")
