"""The complete gRPC service of invengine.v1 on grpc.aio.

`serve_python(engine, address)` starts it, on a TCP address or a unix socket. Frequent methods pass through as raw
bytes; nothing here decides anything about stock.
"""

from invengine.service.server import PythonService, serve_python

__all__ = ["PythonService", "serve_python"]
