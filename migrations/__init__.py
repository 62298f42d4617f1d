"""The database's schema, one numbered revision after the other.

A revision that takes something away comes a release after the one whose code stopped using it: while a deploy is
under way, and after a rollback, the old code meets the new schema (expand first, contract later).
"""
