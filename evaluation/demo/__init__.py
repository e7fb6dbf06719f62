"""Run one turn of the loop with simulated annotators: what `manage.py demo` shows and `script/demo` starts.

It stands in this app because it sees all three. Each stage finds what stands and makes what is missing.
"""
