"""Answers while they are written: streamed, with the names of their models masked, to whoever looks on."""
