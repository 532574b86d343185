"""The door `ProtocolServer`: one method for each endpoint."""
