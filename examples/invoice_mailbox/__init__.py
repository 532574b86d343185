"""An example invoice mailbox: a relying party and resource server in two files."""
