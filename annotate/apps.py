from django.apps import AppConfig


class AnnotateConfig(AppConfig):
    name = "annotate"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from annotate import queue_chores
        from annotate.actions import adjudication, feedback
        from annotate.chores import CHORES
        from annotate.housekeeping import chores

        CHORES.extend([*chores(), *queue_chores.chores()])
        feedback.ON_SUBMIT.append(adjudication.note_decision)
