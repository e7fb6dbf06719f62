"""Refuse to build a package without its operations and models, which script/client makes of the API's schema."""

from pathlib import Path

from setuptools import setup

if not Path(__file__).with_name("assay_client").joinpath("operations.py").exists():
    raise SystemExit("First run script/client in Assay's repository, then install clients/python/dist/*.whl.")
setup()
