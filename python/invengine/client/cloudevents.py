"""Events of the journal as CloudEvents 1.0, for systems that already read these."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from invengine.client.results import Event

TYPE_PREFIX = "invengine.v1."


def cloud_event(event: Event) -> dict[str, Any]:
    """Returns an event as a CloudEvent in structured form: a dict that `json.dumps` writes as cloudevents+json.

    `source` and `id` together are the position of the event: /ledgers/LEDGER and WRITER_EPOCH:SEQUENCE. `type` is
    invengine.v1. and the name of the fact, `subject` what the fact is about: the reservation, SKU@LOCATION, or a name;
    absent if it is about the ledger as a whole. `data` has the position as text, the fact, and the context of the
    command if there is one, in the JSON form of the contract: names as in the protos, 64-bit numbers as text.

    ValueError if the server is too old to name its ledger.
    """
    from google.protobuf.json_format import MessageToDict

    position = event.position
    data: dict[str, Any] = {"position": str(position)}
    for name, message in (("fact", event.fact), ("context", event.context)):
        if message is not None:
            data[name] = MessageToDict(message, preserving_proto_field_name=True)
    found = {
        "specversion": "1.0",
        "id": f"{position.writer_epoch}:{position.sequence}",
        "source": f"/ledgers/{quote(position.ledger, safe='')}",
        "type": f"{TYPE_PREFIX}{event.kind}",
        "time": event.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": data,
    }
    subject = _subject(event)
    return found | ({"subject": subject} if subject else {})


def _subject(event: Event) -> str:
    fact = event.fact
    if event.kind == "entity_put":
        fact = getattr(fact, fact.WhichOneof("entity") or "", None)
    if event.kind == "echoed":
        fact = fact.origin
    if event.kind in ("message_parked", "message_dead") and event.context is not None:
        fact = event.context.source
    if hasattr(fact, "sku") and hasattr(fact, "location"):
        return f"{fact.sku}@{fact.location}"
    names = (
        "rule",
        "reservation_id",
        "sku",
        "location",
        "channel",
        "group",
        "consumer",
        "source_id",
        "idempotency_key",
        "name",
    )
    return next((getattr(fact, name) for name in names if hasattr(fact, name)), "")
