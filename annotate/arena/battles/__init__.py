"""A battle: who meets whom on what, its questions, and the vote."""
