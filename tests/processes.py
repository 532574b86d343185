"""Processes of the tests' own, forked from one that has imported what they need and has opened nothing."""

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
"""Each starts as clean as by `spawn`, without a second of imports."""

# Modules that cannot be imported there are imported by each process, as by `spawn`.
CONTEXT.set_forkserver_preload(["argon2", "psycopg", "pytest", "tests.accounts.house"])
