"""Who may do what at each address of the site: the table that `test_doors` tries everybody against.

A page stands by its name, an address for programs by its path below /api/v1/. The rights:

- anybody; account: whoever is signed in
- read: whoever may read the project; reader: the same, signed in
- judge, review, research, manage: a role in the project that may
- researcher: whoever may research in some project; staff
- mine: whoever it belongs to, such as a task, a battle or a judgement

A method without a right is not offered. An empty line of rights: another test tries it, since it answers by itself.
"""

from __future__ import annotations

_PAGES = """
home                                  get anybody, post anybody
new-project                           get staff, post staff
project                               get read
project-settings                      get manage, post manage
guidelines                            get read, post manage
people                                get manage
members                               post manage
invite                                post manage
revoke-invitation                     post manage
join
audit                                 get manage
invitation                            get anybody, post anybody
red-team                              get judge, post judge
red-team-rate                         post judge
attacks                               get judge
attack-withdraw                       post mine
harm                                  get account, post account
account                               get account
tokens                                get account, post account
revoke-token                          post mine
judge                                 get judge, post judge
judge-skip                            post judge
judge-undo                            post judge
judge-keep                            post judge
judge-flag                            post judge
judge-history                         get judge
judge-edit                            get mine, post mine
reading                               get judge, post judge
tutorial                              get judge, post judge
tutorial-lesson                       get judge
adjudicate                            get review
adjudicate-item                       get review, post review
send-back                             post review
decide-prompt                         post review
gold                                  get manage, post manage
gold-lift                             post manage
gold-change                           post manage
scales                                get manage, post manage
shortcuts                             get account, post account
arena                                 get read, post read
arena-history                         get read
arena-battle                          get mine
arena-vote                            post mine
arena-proof                           get mine
arena-stop                            post mine
arena-turn                            post mine
arena-entry                           post research
model-retire                          post manage or staff
model-bring-back                      post manage or staff
model-share                           post manage or staff
model-serving                         get research, post research
project-playground                    get research
playground                            get research, post research
playground-keep
data                                  get read, post research
upload                                get research, post research
export                                get review
imports                               get research, post research
import                                get research
import-problems                       get research
import-cancel                         post research
import-go-on                          post research
webhooks                              get manage, post manage
webhook                               get manage, post manage
webhook-again                         post manage
dataset                               get read
dataset-download                      get review
votes                                 get read
vote-status                           post manage
runs                                  get read
choose-kind                           get research
new-run                               get research, post research
estimate-pretraining                  get research
run-from-file                         get research, post research
compare-runs                          get read
disk                                  get research
prune                                 post research
catalogue                             get read
corpus-upload                         post research
instruct                              get research, post research
run                                   get read
run-figures                           get read
run-yaml                              get read
cancel-run                            post research
resume-run                            post research
choose-at-pause                       post research
queue-again                           post research
leaderboard                           get read
leaderboard-csv                       get read
leaderboard-json                      get read
leaderboard-png                       get read
promote                               post manage
models                                get read
model                                 get read
model-card                            get read
export-file                           get research
evaluations                           get read
evaluations-csv                       get read
run-items                             get read
run-items-jsonl                       get read
run-items-csv                         get read
score-and-people                      get read
lineage                               get read
compare                               get read
compare-items                         get read
compare-download                      get read
tax                                   get read
tax-measure                           post reader
tax-download                          get read
leaderboard-pairs                     get read
leaderboard-pairs-file                get read
leaderboard-over-time                 get read
leaderboard-over-time-file            get read
leaderboard-other-ways                get read
leaderboard-other-ways-file           get read
decisions                             get read
promotion-rule                        get manage, post manage
promote-candidate                     post manage
roll-back                             post manage
ask-next                              get read, post research
cost                                  get read
notices                               get account
quality                               get review
quality-judges-file                   get review
quality-pairs-file                    get review
quality-mine                          get judge
quality-withdraw                      get judge, post judge
quality-judge                         get review
quality-exclude                       get manage, post manage
quality-imported                     get review
quality-exclude-imported             get manage, post manage
quality-exclusions                    get manage
quality-undo                          post manage
held-votes                            get manage
decide-held-votes                     post manage
login                                 get anybody, post anybody
account_login                         get anybody, post anybody
account_inactive                      get anybody
account_signup                        get anybody, post anybody
account_reauthenticate                get account, post account
account_request_reauthentication_code get nobody, post nobody
account_confirm_reauthentication_code get nobody, post nobody
account_email                         get account, post account
account_email_verification_sent       get anybody
account_change_password               get account, post account
account_set_password                  get account, post account
account_reset_password                get anybody, post anybody
account_confirm_login_code            get anybody, post anybody
account_confirm_email                 get anybody, post anybody
account_reset_password_from_key_done  get anybody
account_reset_password_from_key       get anybody, post anybody
account_reset_password_done           get anybody
mfa_index                             get account
mfa_authenticate                      get anybody, post anybody
mfa_reauthenticate                    get account, post account
mfa_activate_totp                     get anybody, post anybody
mfa_deactivate_totp                   get account, post account
mfa_view_recovery_codes               get account
mfa_generate_recovery_codes           get anybody, post anybody
mfa_download_recovery_codes           get account, post account
schema                                get anybody
api-docs                              get anybody
"""

_PROGRAMS = """
auth/token/                                     post anybody
auth/token/renew/                               post account
auth/tokens/                                    get account, post account
auth/tokens/<pk>/                               delete mine
invitations/accept/                             post account
harm-budget/                                    get account, put account
projects/<p>/talks/                             post judge
projects/<p>/attacks/                           get judge
projects/<p>/attacks/<pk>/withdraw/             post mine
talks/<token>/                                  get mine, delete mine
talks/<token>/say/                              post mine
talks/<token>/rate/                             post mine
projects/<p>/invitations/                       get manage, post manage
projects/<p>/invitations/<pk>/revoke/           post manage
projects/<p>/join/
projects/<p>/audit/                             get manage
projects/<p>/assignments/                       post judge
projects/<p>/guidelines/read/                   post judge
projects/<p>/message/                           get judge, post judge
projects/<p>/tutorial/                          post judge
assignments/<pk>/lesson/                        get mine
projects/<p>/gold/                              get manage, post manage
projects/<p>/gold/<pk>/                         patch manage
projects/<p>/pauses/                            get manage, post manage
projects/<p>/disagreements/                     get review
projects/<p>/disagreements/<item>/              get review
projects/<p>/adjudications/                     post review
assignments/<pk>/send-back/                     post review
projects/<p>/complaints/                        get review
projects/<p>/complaints/<pk>/                   post review
projects/<p>/queue/                             get manage
projects/<p>/judgements/mine/                   get judge
projects/<p>/scales/                            get read, post manage
projects/<p>/scales/<pk>/                       get read, patch manage, delete manage
battles/                                        post read
projects/<p>/battles/mine/                      get read
battles/<token>/                                get mine
battles/<token>/vote/                           post mine
battles/<token>/proof/                          get mine
battles/<token>/stop/                           post mine
battles/<token>/turns/                          post mine
projects/<p>/export/                            get review
comparisons/import/                             post research
datasets/upload/                                post research
shortcuts/                                      get account, patch account, delete account
projects/                                       get anybody, post staff
projects/<p>/                                   get read, patch manage
projects/<p>/guidelines/                        post manage
projects/<p>/members/                           get manage, post manage
models/                                         get account, post researcher or staff
models/<pk>/                                    get reader
models/<pk>/bring-back/                         post manage or staff
models/<pk>/enter/                              post research
models/<pk>/leave/                              post research
models/<pk>/retire/                             post manage or staff
models/<pk>/share/                              post manage or staff
models/<pk>/serving/                            get research, post research
prompts/                                        get account, post research
prompts/<pk>/                                   get reader
completions/                                    get account, post research
completions/<pk>/                               get review
assignments/<pk>/                               get mine
assignments/<pk>/again/                         post mine
assignments/<pk>/flag/                          post mine
assignments/<pk>/skip/                          post mine
assignments/<pk>/submit/                        post mine, put mine, delete mine
ratings/                                        get account, post judge
ratings/<pk>/                                   get mine or review
ratings/<pk>/status/                            post manage
comparisons/                                    get account, post research
comparisons/<pk>/                               get mine or review
comparisons/<pk>/status/                        post manage
demonstrations/                                 get account, post judge
demonstrations/<pk>/                            get mine or review
demonstrations/<pk>/status/                     post manage
rankings/                                       get account
rankings/<pk>/                                  get mine or review
rankings/<pk>/status/                           post manage
spans/                                          get account
spans/<pk>/                                     get mine or review
spans/<pk>/status/                              post manage
flags/                                          get account
flags/<pk>/                                     get mine or review
flags/<pk>/status/                              post manage
datasets/                                       get account, post research
datasets/preview/                               post research
datasets/<pk>/                                  get reader
datasets/<pk>/export/                           get review
imports/                                        get account, post research
imports/<pk>/                                   get research
imports/<pk>/cancel/                            post research
imports/<pk>/go-on/                             post research
imports/<pk>/problems/                          get research
webhooks/                                       get account, post manage
webhooks/<pk>/                                  get manage, patch manage, delete manage
webhooks/<pk>/deliveries/                       get manage
webhooks/<pk>/rotate-secret/                    post manage
webhooks/<pk>/send-again/                       post manage
webhooks/<pk>/test/                             post manage
corpora/                                        get research, post research
disk/                                           get research
disk/prune/                                     post research
instructions/                                   post research
instructions/preview/                           post research
instructions/templates/                         get account
runs/                                           get account, post research
runs/from-yaml/                                 post research
runs/<pk>/                                      get reader
runs/<pk>/again/                                post research
runs/<pk>/cancel/                               post research
runs/<pk>/choose/                               post research
runs/<pk>/metrics/                              get reader
runs/<pk>/order/                                get reader
runs/<pk>/resume/                               post research
runs/<pk>/reviews/                              get reader
runs/<pk>/samples/                              get reader
leaderboard/                                    get read
leaderboard/pairs/                              get read
leaderboard/over-time/                          get read
leaderboard/counted-otherwise/                  get read
evaluations/compare/                            get read
models/<pk>/tax/                                get reader
runs/<pk>/items/                                get read
models/<pk>/card/                               get reader
runs/<pk>/export/<name>                         get research
projects/<p>/promotion-rule/                    get reader, post manage
projects/<p>/candidacies/                       get read
projects/<p>/decisions/                         get read
projects/<p>/roll-back/                         post manage
projects/<p>/default-model/                     get read
projects/<p>/default-model/v1/chat/completions  post research
projects/<p>/sampling-rates/                    get read
projects/<p>/ask-next/                          get review, post research
projects/<p>/costs/                             get read
notices/                                        get account
notices/seen/                                   post account
projects/<p>/quality/                           get review
projects/<p>/quality/pairs/                     get review
projects/<p>/quality/mine/                      get judge
projects/<p>/quality/judges/<pk>/               get review
projects/<p>/quality/imported/                      get review
projects/<p>/quality/imported/touched/              get manage
projects/<p>/quality/judges/<pk>/touched/       get mine or manage
projects/<p>/exclusions/                        get manage, post manage or mine
projects/<p>/exclusions/<pk>/undo/              post manage
projects/<p>/held-rate/                         get manage
projects/<p>/held-votes/                        get manage, post manage
evaluations/                                    get account, post research
evaluations/alike/                              post research
evaluations/<pk>/                               get reader
promotions/                                     get account, post manage
"""


def _read(table: str) -> dict[str, dict[str, str]]:
    """{address: {method: right}}"""
    rows = (line.partition(" ") for line in table.strip().splitlines())
    return {name: dict(_right(one) for one in rights.split(", ") if one.strip()) for name, _, rights in rows}


def _right(told: str) -> tuple[str, str]:
    method, _, right = told.strip().partition(" ")
    return method, right


DOORS = _read(_PAGES) | _read(_PROGRAMS)
