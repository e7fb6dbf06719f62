"""Pure Python for all apps: intervals, distributions, the area under the ROC curve, pictures. It knows no Django."""
