"""What the contract promises, tried on every target: the native door, the Python service and the embedded engine."""
