"""What `make demo` runs: provider, worker, example mailbox and a mail inbox, on loopback, with accounts to try."""
