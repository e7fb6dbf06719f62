"""Guard the arena's votes: what holds a vote before it counts. What needs many votes to be seen is in
evaluation/vote_integrity/detection.py."""
