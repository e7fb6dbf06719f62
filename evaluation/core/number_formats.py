"""Write numbers for people: rounded to what they mean, with a true minus sign, thousands set apart. Pure."""

from __future__ import annotations

from common.texts import percent as percent


def thousands(value: float) -> str:
    """Format with a comma: 1149 -> 1,149"""
    return f"{value:,.0f}"


def whole(value: float) -> str:
    """Format as a whole number: -8.2 -> −8"""
    return f"{round(value)}".replace("-", "−")  # round() gives an int, so that -0.2 is 0 and not -0


def signed(value: float) -> str:
    """Format with a sign: 12.3 -> +12, -8.2 -> −8"""
    text = whole(value)
    return text if text.startswith("−") or text == "0" else f"+{text}"


def nats(value: float) -> str:
    """Format nats: 2.834 -> 2.83, -0.001 -> 0.00"""
    text = f"{value:.2f}".replace("-", "−")
    return "0.00" if text == "−0.00" else text


def signed_nats(value: float) -> str:
    """Format nats with a sign: 0.478 -> +0.48, -0.031 -> −0.03, 0.001 -> 0.00"""
    text = nats(value)
    return text if text.startswith("−") or text == "0.00" else f"+{text}"


def roughly(value: float) -> str:
    """Format roughly: 2564 -> 2,600. Two figures are all that an estimate of votes still to come can mean."""
    return f"{float(f'{value:.2g}'):,.0f}"


def percent_fine(value: float) -> str:
    """Format a small share by two figures: 0.00034 -> 0.034 %"""
    return f"{float(f'{100 * value:.2g}'):g} %"


def p_value(value: float) -> str:
    """Format a p value: 0.0004 -> below 0.001, 0.034 -> 0.03"""
    return "below 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.01 else f"{value:.2f}"


def likeliest(probabilities: dict[str, float]) -> list[tuple[str, float]]:
    """Return the likeliest first: a database may keep a JSON object's keys in an order of its own."""
    return sorted(probabilities.items(), key=lambda pair: -pair[1])


def tenths(share: float) -> int:
    """Return the class of colour of a share, which never stands without the number: 0.62 -> 6"""
    return round(10 * share)
