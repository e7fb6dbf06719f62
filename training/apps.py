from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from annotate.labelling.queue.choosing import URGENT
        from training import run_kinds
        from training.runs.human_review import reviews as human_review

        run_kinds.register()
        URGENT.register(human_review.pairs_first)
