"""Decide which model is served: candidates, the rule they must meet, promotion, and what to ask people next."""
