"""The defence of the arena's votes at the door: what holds a vote before it counts. What needs many votes to be seen
is in evaluation/vote_integrity/detection.py."""
