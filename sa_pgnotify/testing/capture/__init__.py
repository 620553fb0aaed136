"""The events that a test expects: of a connection, or of a transaction before its COMMIT."""
