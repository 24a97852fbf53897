"""Defects that are known and not mended yet, by test. Each is run, reported as skipped with its reason when it fails,
and named here so that nobody takes the silence for success. An entry goes with the commit that mends it."""

KNOWN_DEFECTS = {}
