"""Share pure Python among all apps: intervals, distributions, the area under the ROC curve, pictures. It knows no
Django."""
