"""A project with two models in its arena, for all that lies below."""

from tests.support.evaluation.fixtures import base, child, project, vote

__all__ = ["base", "child", "project", "vote"]
