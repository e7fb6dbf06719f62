"""Draw pictures on the server, as SVG that follows the theme and as PNG."""
