"""Every figure of this program, measured against what a user would pick instead, in the same run.

``python -m tests.bench`` prints one table; ``--short`` takes under three minutes. Nothing here is an assertion:
figures are looked at, tests are passed.
"""
