"""Generated from protos/invengine/v1 by `make protos`: protocol buffer messages and gRPC stubs."""
