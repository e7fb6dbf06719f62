"""Bytes in words, for templates."""

from __future__ import annotations

from django import template

from training.storage import disk_usage

register = template.Library()
register.filter("size", disk_usage.size_in_words)
register.filter("size_or_dash", lambda size: disk_usage.size_in_words(size) if size else "–")
