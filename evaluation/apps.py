from django.apps import AppConfig


class EvaluationConfig(AppConfig):
    name = "evaluation"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from annotate.actions.choosing import URGENT
        from annotate.actions.pairing import register_weights
        from annotate.actions.priorities import register_uncertainty
        from annotate.chores import CHORES, Chore
        from annotate.served import register_default
        from annotate.webhooks.deliveries import SWITCHED_OFF
        from evaluation import kinds
        from evaluation.arena import sampling
        from evaluation.core.served_model import serves
        from evaluation.decisions import ask_next, promotion, receivers
        from evaluation.defence import vote_defence
        from evaluation.measuring import uncertainty

        kinds.register()
        register_default(serves)
        register_weights(sampling.weights)
        register_uncertainty(uncertainty.of_reward_models)
        URGENT.append(ask_next.pairs_first)
        SWITCHED_OFF.append(receivers.address_is_off)
        CHORES += [
            Chore("figures that no signal reached", receivers.chore, every=3.0),
            Chore("candidates and what is known of them", promotion.chore, every=3.0),
            Chore("what was asked again and is answered", ask_next.chore, every=3.0),
            Chore("votes that are unlike all others", vote_defence.chore, every=60.0),
            Chore("addresses and counts that are forgotten", vote_defence.forget, every=3600.0),
        ]
