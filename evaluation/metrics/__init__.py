"""Metrics of texts and of models: functions of arrays, with their errors. Numpy at most; no Django, no torch."""
