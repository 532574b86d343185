"""The Flask extensions, made once and bound in `create_app`."""
