"""The tests. Those of complaints use the ways into the engine that the conformance suite has."""
