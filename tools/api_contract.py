"""The wire contract as text: services, methods, messages, enums and events, with the comments of the protos."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parents[1] / "protos"
PACKAGE = ".invengine.v1."

Section = Callable[..., str]
Table = Callable[[tuple[str, ...], list[tuple[str, ...]]], str]

_KIND = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    _KIND.TYPE_DOUBLE: "double", _KIND.TYPE_INT64: "int64", _KIND.TYPE_INT32: "int32", _KIND.TYPE_BOOL: "bool",
    _KIND.TYPE_STRING: "string", _KIND.TYPE_BYTES: "bytes", _KIND.TYPE_UINT32: "uint32", _KIND.TYPE_UINT64: "uint64",
    _KIND.TYPE_FLOAT: "float",
}  # fmt: skip


class Proto:
    """One file of the contract, with its comments by path."""

    def __init__(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        self.file = file
        self._comments = {
            tuple(place.path): " ".join(place.leading_comments.split()) for place in file.source_code_info.location
        }

    def comment(self, *path: int) -> str:
        """The comment of an element in the protos; raises ValueError if it has none."""
        found = self._comments.get(path, "")
        if not found:
            raise ValueError(f"{self.file.name}: an element without a comment at {path}")
        return found


@cache
def protos() -> list[Proto]:
    """Every file of the contract."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory(prefix="invengine-api-") as scratch:
        out = Path(scratch) / "contract.binpb"
        include = str(files("grpc_tools") / "_proto")
        arguments = [f"-I{PROTOS}", f"-I{include}", "--include_source_info", f"--descriptor_set_out={out}", *sources]
        if protoc.main(["protoc", *arguments]):
            raise SystemExit("protoc refuses the protos")
        return [Proto(file) for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file]


def type_of(message: descriptor_pb2.DescriptorProto, field: descriptor_pb2.FieldDescriptorProto) -> str:
    """The type of a field in readable form."""
    for nested in message.nested_type:
        if nested.options.map_entry and field.type_name.endswith(f".{nested.name}"):
            return f"map<{', '.join(type_of(nested, each) for each in nested.field)}>"
    name = _SCALARS.get(field.type) or field.type_name.removeprefix(PACKAGE).removeprefix(".google.protobuf.")
    return f"repeated {name}" if field.label == _KIND.LABEL_REPEATED else name


def fields(proto: Proto, number: int) -> list[tuple[str, ...]]:
    """A row for each field of a message: name, number, type, comment."""
    message = proto.file.message_type[number]
    rows: list[tuple[str, ...]] = []
    for place, field in enumerate(message.field):
        choice = field.HasField("oneof_index") and not field.proto3_optional
        words = proto.comment(4, number, 2, place)
        if choice:
            words = f"One of `{message.oneof_decl[field.oneof_index].name}`. {words}"
        optional = "optional " if field.proto3_optional else ""
        rows.append((f"`{field.name}`", str(field.number), f"{optional}{type_of(message, field)}", words))
    return rows


def find(name: str) -> tuple[Proto, int]:
    """The file of a message and its number there."""
    for proto in protos():
        for number, message in enumerate(proto.file.message_type):
            if message.name == name:
                return proto, number
    raise KeyError(name)


def events(section: Section, table: Table) -> str:
    """Every kind of event with the fields of its fact."""
    proto, number = find("Event")
    text = ""
    for place, field in enumerate(proto.file.message_type[number].field):
        if field.HasField("oneof_index"):
            words = proto.comment(4, number, 2, place)
            fact = fields(*find(field.type_name.removeprefix(PACKAGE)))
            kinds: list[tuple[str, ...]] = [(name, kind, comment) for name, _, kind, comment in fact]
            text += section(field.name, words, 3) + "\n" + table(("field of `fact`", "type", "meaning"), kinds) + "\n"
    return text


def contract(section: Section, table: Table) -> str:
    """Services with their methods, then messages and enums."""
    text = ""
    for proto in protos():
        for at, service in enumerate(proto.file.service):
            words = proto.comment(6, at)
            rows: list[tuple[str, ...]] = [
                (f"`{rpc.name}`", _name(rpc, "input"), _name(rpc, "output"), proto.comment(6, at, 2, place))
                for place, rpc in enumerate(service.method)
            ]
            text += section(service.name, words, 3) + "\n" + table(("method", "request", "answer", ""), rows) + "\n"
        for number, message in enumerate(proto.file.message_type):
            rows = fields(proto, number)
            text += section(message.name, proto.comment(4, number), 4)
            text += "\n" + table(("field", "number", "type", "meaning"), rows) + "\n" if rows else ""
        for number, enum in enumerate(proto.file.enum_type):
            rows = [
                (f"`{value.name}`", str(value.number), proto.comment(5, number, 2, place))
                for place, value in enumerate(enum.value)
            ]
            text += section(enum.name, proto.comment(5, number), 4) + "\n" + table(("value", "number", ""), rows) + "\n"
    return text


def _name(rpc: Any, side: str) -> str:
    streaming = rpc.client_streaming if side == "input" else rpc.server_streaming
    name = getattr(rpc, f"{side}_type").removeprefix(PACKAGE)
    return f"stream {name}" if streaming else name
