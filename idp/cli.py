"""The command `idp`."""


def main() -> None:
    """Run the command line."""
