"""Judges that are models: their rubrics and verdicts, how far they agree with people, and one rating by both."""
