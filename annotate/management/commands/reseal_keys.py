"""Encrypt the keys of models' endpoints anew, with the newest of ASSAY_KEY_SECRETS; the older ones can then go.

ASSAY_KEY_SECRETS=new,old manage.py reseal_keys
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.language_models import model_keys
from annotate.models import LanguageModel


class Command(BaseCommand):
    help = "Encrypt the keys of models' endpoints anew, with the newest secret."

    def handle(self, **options: Any) -> None:
        unreadable_names, resealed = [], 0
        for model in LanguageModel.objects.exclude(sealed_key=""):
            try:
                sealed = model_keys.reseal(model)
            except model_keys.KeyLost:
                unreadable_names.append(model.name)
                continue
            # Not a key that somebody has given meanwhile.
            unchanged_rows = LanguageModel.objects.filter(pk=model.pk, sealed_key=model.sealed_key)
            resealed += unchanged_rows.update(sealed_key=sealed)
        self.stdout.write(f"{resealed} keys are encrypted with the newest secret.")
        if unreadable_names:
            raise CommandError(
                f"No secret reads the keys of {', '.join(unreadable_names)}: give them again on the models' pages."
            )
