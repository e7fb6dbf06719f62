from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.core.checks import register

        from annotate.core.metrics.readings import READINGS
        from annotate.core.periodic_tasks import PERIODIC_TASKS
        from annotate.labelling.queue.urgent_items import URGENT
        from annotate.projects.overview.overview_parts import OVERVIEW
        from training import run_kinds
        from training.runs.human_review import reviews as human_review
        from training.runs.launchers.cluster_checks import check_cluster
        from training.runs.ordering.end_events import RUN_FINISHED
        from training.runs.present import project_overview
        from training.runs.queue.queue_readings import queue_readings
        from training.runs.trackers import updates as run_trackers
        from training.serving import adapter_upkeep, served_children

        run_kinds.register()
        register(check_cluster)
        OVERVIEW.register(project_overview.of_project)
        URGENT.register(human_review.pairs_first)
        RUN_FINISHED.register(served_children.child_of_a_run)
        READINGS.register(queue_readings)
        for task in (*adapter_upkeep.periodic_tasks(), *run_trackers.periodic_tasks()):
            PERIODIC_TASKS.register(task)
