from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from training.corpora import actions as corpora
        from training.runs.human_review import reviews as human_brake
        from training.runs.present import ppo_section as ppo_page

        corpora.register()
        human_brake.register()
        ppo_page.register()
