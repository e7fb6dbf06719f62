"""Run decoder layers by hand over sequences laid end to end, for processors."""
