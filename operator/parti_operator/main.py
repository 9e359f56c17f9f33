"""`parti-operator`: settings, logs, access to Kubernetes, then the process until its end.

What goes wrong is one line on standard error and an exit code:

- 0: ended as asked
- 1: failed, or lost its lease; the log has the reason
- 2: cannot start like this: settings, no access to Kubernetes, an address that is taken

Asserts guard what must not happen, so Python's optimised mode is refused.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence

from parti_operator.config import ConfigError, OperatorConfig, load_config
from parti_operator.failpoints import VARIABLE, FailpointError, Failpoints
from parti_sidecar.grpc_environment import GRPC_ENVIRONMENT
from parti_sidecar.logs import event, set_up_logs

EXIT_FAILED = 1
EXIT_CANNOT_START = 2

_log = logging.getLogger(__name__)


def main() -> None:
    """The console script."""
    sys.exit(start(sys.argv[1:], os.environ))


def start(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the operator with these arguments and variables; gives the exit code."""
    if not __debug__:
        return _complain("Python's -O removes checks that the operator relies on; run without")
    try:
        config = load_config(argv, environ)
        failpoints = Failpoints(environ.get(VARIABLE, ""))
    except (ConfigError, FailpointError) as error:
        return _complain(str(error))
    set_up_logs(config.log_format, config.log_level, context={"pod": config.pod_name})
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # An error for every request that it repeats, of every watch: `resync` tells it once.
    logging.getLogger("kopf._cogs.clients").setLevel(logging.CRITICAL)
    for name, value in GRPC_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    return asyncio.run(_live(config, failpoints, environ))


async def _live(config: OperatorConfig, failpoints: Failpoints, environ: Mapping[str, str]) -> int:
    # Imported when the settings are known to be good: help and complaints come at once.
    from parti_operator.kube import KubeConfigError, connect  # noqa: PLC0415
    from parti_operator.lifecycle import AddressTakenError, Operator, Outside  # noqa: PLC0415
    from parti_operator.metrics import Metrics  # noqa: PLC0415
    from parti_operator.plan import plan, refuse  # noqa: PLC0415
    from parti_operator.sidecars import GrpcSidecars  # noqa: PLC0415

    metrics = Metrics()
    try:
        kube = await connect(metrics.count_request, environ)
    except KubeConfigError as error:
        return _complain(str(error))
    sidecars = GrpcSidecars(
        lambda method, status: metrics.sidecar_calls_failed.labels(method, status).inc()
    )
    outside = Outside(kube, sidecars, metrics, failpoints, plan, refuse)
    try:
        await Operator(config, outside).run()
    except AddressTakenError as error:
        return _complain(str(error))
    except Exception as error:  # noqa: BLE001 - the end of the process, whatever it is
        reason = _innermost(error)
        event(_log, "operator failed", level=logging.ERROR, error=reason)
        return _complain(f"{type(reason).__name__}: {reason}", EXIT_FAILED)
    finally:
        await kube.close()
    return 0


def _innermost(error: BaseException) -> BaseException:
    """The first reason inside groups of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _complain(problem: str, code: int = EXIT_CANNOT_START) -> int:
    sys.stderr.write(f"parti-operator: {' '.join(problem.split())}\n")
    return code


if __name__ == "__main__":
    main()
