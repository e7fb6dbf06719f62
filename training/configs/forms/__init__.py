"""Say how a form shows the options of a kind: order, headings, labels and presets. Pure."""
