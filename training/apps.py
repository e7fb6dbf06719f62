from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from training import corpora, human_brake
        from training.views import ppo_page

        corpora.register()
        human_brake.register()
        ppo_page.register()
