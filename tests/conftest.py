"""Settings of all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is; tests have time limits of their own.
settings.register_profile("parti", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("parti")
