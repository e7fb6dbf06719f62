"""List how a language model names itself: its possible names, and the words around them, in several languages.

Patterns are read on text as `masked_text` folds it: in lower case; for languages in Latin letters without accents
and look-alikes, too.
"""

from __future__ import annotations


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.replace("\n", ",").split(",") if name.strip())


# Names of models that are hardly ever anything else.
FAMILIES = _names("""
    gpt, chatgpt, chat gpt, instructgpt, gpt neox, gpt neo, gpt j, claude, qwen, tongyi qianwen, mixtral, ministral,
    codestral, magistral, smol lm, deep seek, lamda, chat glm, glm, intern lm, baichuan, ernie bot, kimi, hunyuan,
    doubao, mini cpm, nemotron, olmo, tulu, vicuna, wizard lm, open chat, star coder, code llama, stable lm, pythia,
    bloomz, jamba, gemma, eurollm, apertus, openassistant, open assistant, guanaco, koala llm, dbrx, command r, grok,
    yandex gpt, giga chat, exaone,
    通义千问, 千问, 文心一言, 豆包, 智谱清言, 深度求索, 混元, 讯飞星火, 百川, 书生浦语
""")
# Words and names of people, too: a model only where an article does not make an animal or a star sign of them.
WORDLIKE = _names("llama, gemini, mistral, bard, alpaca, copilot, palm, phi, ernie, granite, siri, alexa")
# Common words: a model only where the sentence speaks of one.
AMBIGUOUS = _names("""
    falcon, bloom, titan, nova, orca, hermes, dolphin, zephyr, starling, solar, yi, pi, opt, le chat, luminous,
    inflection, perplexity
""")
MAKERS = _names("""
    openai, open ai, anthropic, meta, meta ai, facebook, google, google deepmind, deepmind, microsoft, mistral ai,
    mistralai, alibaba, alibaba cloud, hugging face, huggingface, cohere, x.ai, xai, nvidia, ibm, amazon, apple, baidu,
    tencent, bytedance, zhipu, zhipu ai, moonshot ai, stability ai, allen institute, ai2, eleutherai, eleuther ai,
    databricks, 01.ai, tii, upstage, aleph alpha, inflection, inflection ai, perplexity, ai21, ai21 labs, nous research,
    huawei, deepseek, yandex, sber, sberbank, liquid ai, lg ai research,
    阿里云, 阿里巴巴, 百度, 腾讯, 字节跳动, 智谱, 月之暗面, 华为, 谷歌, 微软, 达摩院
""")
# Parts of a registered name that name nobody.
GENERIC = frozenset(
    _names("""
    base, sft, ppo, dpo, rlhf, chat, instruct, model, test, main, final, small, large, mini, tiny, best, new, old, the,
    and, for, assistant, reward, policy, candidate, baseline, reference, latest, default
""")
)
MODEL_WORDS = r"\b(?:model|modell\w*|modele|modelo|modello|llm|ai|ki|ia|assistant|asistente|assistente|chatbot|bot)\b"
_VERBS = (
    r"(?:created|made|developed|trained|built|designed|powered|provided|released|engineered|programmed|fine-?tuned"
    r"|introduced|hosted|owned|maintained|produced|published)"
)
_TEAM = r"(?:\s(?:the|a|an|team|at|of|researchers|engineers|company|scientists|people|folks))*\s*"
# Between "I am" and a name, or between a verb and a maker: words that leave the sentence about the speaker.
_FILLER = (
    r"(?:an?|the|large|small|tiny|language|model|models|ai|llm|assistant|chatbot|bot|called|named|known|as|version|member"
    r"|of|actually|just|only|also|not|indeed|really|still|your|you|can|call|me|friendly|powerful|open|source|weights|based"
    r"|on|from|by|at|team|teams|researchers|engineers|people|folks|scientists|company|virtual|helpful|multimodal|advanced"
    r"|experimental|lightweight|artificial|intelligence|and|my|name|is|chat|instruct|family|series|variant|new|latest"
    r"|research|lab|labs|group|text|powerful|conversational|computer|program|digital|neural|network|transformer|generation|"
    + _VERBS[3:-1]
    + r"|un|une|una|ein|eine|einen|der|die|das|le|la|el|il|o|os|de|du|des|del|di|da|do|von|vom|van|par|por|pelo|pela"
    r"|modele|modell|modelo|modello|sprachmodell|ki|ia|ki-assistent|ki-modell|ki-sprachmodell|assistent|asistente"
    r"|assistente|langage|lenguaje|linguagem|linguaggio|grand|gran|grande|grosses|grosse|nomme|appele|llamado|chamado"
    r"|chiamato|namens|genannt|inteligencia|inteligencia|artificial|artificielle|intelligence|intelligenz|kunstliche"
    r"|assistant|virtuel|virtual|virtuale)"
)
_GAP = r"[\s,;:\"'“”„«»()\[\]{}–—-]+"
FILLED = rf"(?:{_GAP}{_FILLER}){{0,14}}{_GAP}$"
_I = (
    r"\b(?:i am|i'm|i was|i've been|i have been|my name is|my name's|my name|call me|i go by|i identify as"
    r"|the (?:ai |language )?(?:model|assistant) (?:answering|helping|talking to|serving) you is"
    r"|you(?:'re| are) (?:talking|speaking|chatting) (?:to|with)|i'm called|i run on|i am running on"
    r"|ich bin|ich heisse|ich wurde|mein name ist|mein name lautet|man nennt mich|je suis|je m'appelle|mon nom est"
    r"|on m'appelle|j'ai ete|soy|yo soy|me llamo|mi nombre es|fui|he sido|sou|eu sou|chamo-me|me chamo|meu nome e"
    r"|io sono|mi chiamo|il mio nome e|sono stat[oa]|jestem|nazywam sie|mam na imie|ik ben|mijn naam is|ik heet"
    r"|jag ar|jag heter|mitt namn ar|jeg er|jeg heter|jeg hedder|ma olen|olen|nimeni on|eu sunt|ma numesc|jsem"
    r"|jmenuji se"
    r"|benim adim|toi la|ten toi la|saya adalah|nama saya(?: adalah)?|aku adalah|ako si)"
)
# What stands before a name that the speaker gives as its own.
BEFORE_LATIN = (
    _I + FILLED,
    r"\b(?:entwickelt|erstellt|trainiert|developpe|cree|entraine|concu|creado|desarrollado|entrenado|criado|desenvolvido"
    r"|treinado|sviluppato|creato|addestrato)\s+(?:von|par|por|pel[oa]|da|dalla)\s*$",
    r"\bas an? (?:large |small )?(?:ai|language|virtual|digital|chat|conversational)\b" + FILLED,
    r"\b(?:it's me|it is me|i,|me:)[\s,]*$",
    r"\bthis is (?:your|the)(?:\s(?:ai|language|large|virtual))*\s(?:assistant|model|chatbot|bot)[\s,:\"']*$",
)
# Of these the speaker's own words need not be near: but a verb of making and "I" in the sentence must.
MADE_BY = (
    rf"\bi(?:'m| am| was|'ve been| have been)(?:\s(?:also|actually|originally|first|\w+ly))?\s{_VERBS}"
    rf"(?:,?\s(?:and|on|in|with|using|to|be|as|the|a|an|of|large|data\w*|text\w*|assistant|ai|model|{_VERBS}))*\s(?:by|at){_TEAM}$",
    rf"\bi(?:'m| am)\s(?:just |only |actually )?(?:an?|the)\s[^.!?:;\n]{{0,50}}?{MODEL_WORDS}"
    rf"[^.!?:;\n]{{0,30}}?\b{_VERBS}"
    rf"(?:\sand\s{_VERBS})?\s(?:by|at|from){_TEAM}$",
    rf"\bas an?\b[^.!?:;\n]{{0,40}}{MODEL_WORDS}[^.!?:;\n]{{0,30}}\s(?:{_VERBS}\s)?(?:by|at|from)"
    rf"{_TEAM}$",
    r"\bmy (?:creators?|developers?|makers?|parent company|owners?)"
    r"(?:,?\s(?:is|are|at|from|was|were|the|team|company))*,?\s*$",
    rf"\bas an?\s(?:product|creation|invention)\s(?:of|by|from){_TEAM}$",
    rf"\bmy training\s(?:by|at){_TEAM}$",
    r"\bich wurde von(?:\s(?:der|dem|den|firma|team))*\s*$",
    r"\b(?:j'ai ete \w+ par|fui \w+ por|fui \w+ pel[oa]|sono stat[oa] \w+ da(?:lla)?)\s*$",
)
# In scripts of their own: what stands before a name, and what must follow it.
BEFORE_OTHER = (
    (
        r"(?:我是|我叫|我的名字是|我的名字叫|我名叫|本人是|我乃|我就是)[一个款名由来自基于的是大型语言模型人工智能助手聊天机器叫做为"
        r"开发训练研公司团队，,、:：“”\"「『（(\sa-z&.\d-]{0,40}$",
        r"(?!的(?:用户|粉丝|使用者))",
    ),
    (r"我[^。！？\n]{0,16}由\s*$", r".{0,8}(?:开发|研发|训练|创|打造|推出|提供|设计|開發|訓練)"),
    (
        r"(?:私は|わたしは|僕は|当方は|私の名前は)[^。！？\n]{0,24}$",
        r"[」』\s]*(?:です|と申|と言|という|でござ|が開発|によって|社|の)",
    ),
    (r"(?:저는|나는|제 이름은|내 이름은)[^.!?\n]{0,24}$", r"(?:입니다|이라고|라고|예요|이에요|이며|에서|이 |가 |의)"),
    (
        r"(?:меня зовут|мо[её] имя|мен[яе] (?:создал[аи]?|разработал[аи]?|обучил[аи]?)|мене звати"
        r"|(?<!\w)я(?:\s*[—–-]|\s+это)?)"
        r"(?:\s+(?:большая|языковая|модель|ии|чат-бот|помощник|ассистент|нейросеть|компания|компанией|от|из|команда|по|имени|не"
        r"|разработанная|созданная|обученная))*[\s«\"—–-]*$",
        r"",
    ),
    (
        r"(?:أنا|اسمي|اسمى)(?:[\s،,]+(?:نموذج|لغوي|كبير|مساعد|ذكاء|اصطناعي|من|هو|يدعى|اسمه|روبوت|دردشة|طورته|شركة))*[\s،,]*$",
        r"",
    ),
    (r"(?:मैं|मेरा नाम)(?:\s+(?:एक|बड़ा|भाषा|मॉडल|एआई|सहायक|है|हूँ))*\s*$", r""),
    (r"(?:είμαι|με λένε|ονομάζομαι)(?:\s+(?:ο|η|το|ένα|μοντέλο))*\s*$", r""),
    (r"(?:אני|שמי)(?:\s+(?:הוא|מודל|שפה|עוזר))*\s*$", r""),
)
AFTER = (
    r"(?:\s*[,–—-])?\s*(?:here\b|speaking\b|at your service\b|reporting\b)",
    r"\s*(?:is|are)\s+my\s+(?:name|creator|developer|maker|model)\b",
    r"\s+is what (?:people|they|you|users) (?:can |may |all )?call\b",
    r"\s*(?:と申します|と言います|이라고 합니다)",
)
MADE_ME = (
    r"\s+(?:has |have )?(?:(?:created|developed|trained|built|designed|programmed|engineered|fine-?tuned)\s+me\b"
    r"|made\s+me(?:\s*[.,;!?]|\s+(?:to be|an?|as|helpful|in)\b))"
)
AS_BEFORE = (
    r"\b(?:as|being|als|en tant que|como|come|jako)(?:\s+(?:the|a|an|der|das|il|la|el|le|assistant|model|ai))*\s*$"
)
AS_AFTER = r"[\s,]*(?:(?:i|i'm|i've|my|kann ich|bin ich|habe ich|je|mi|yo|eu|io)\b|j')"
SIGNED = (
    r"\b(?:regards|sincerely|yours|yours truly|cheers|best wishes|best|love|signed)\s*,?\s*\n[\s—–-]*$|\n\s*[—–]\s*$"
)
# A visitor who asks who the model is: then no name at all is shown in the answer.
ASKS_WHO_LATIN = (
    r"\bwho (?:are|r) (?:you|u)\b|\bwhat(?:'s| is) your (?:\w+ )?(?:name|model|version)\b|\byour (?:real |own )?name\b"
    r"|\bwhat are you\b"
    r"|\b(?:what|which) (?:\w+ ){0,3}(?:model|llm|ai|version|chatbot|company|lab)\b[^.?!\n]{0,30}\byou\b"
    r"|\bare you (?:\w+ ){0,4}(?:model|ai|bot|chatgpt|gpt\S*|claude|gemini|llama|qwen|mistral|bard|copilot|grok"
    r"|deepseek"
    r"|human)\b|\bwho (?:\w+ )?(?:made|created|built|trained|developed|owns|designed|programmed) you\b"
    r"|\byour (?:creators?|developers?|makers?|identity|model name|knowledge cut-?off)\b"
    r"|\b(?:introduce|identify|describe) yourself\b|\babout yourself\b"
    r"|\b(?:made|created|trained|built|developed) you\b|\bare you (?:made|created|trained|built|developed) by\b"
    r"|\bwer bist du\b|\bwie heisst du\b|\bdein(?:en)? name|\bwer hat dich\b|\bbist du \w+|\bwelches modell\b"
    r"|\bqui es[- ]tu\b|\bqui etes[- ]vous\b|\bt'appelles|\bvous appelez|\b(?:ton|votre) nom\b|\bquel modele\b"
    r"|\bquien eres\b|\bcomo te llamas\b|\btu nombre\b|\bque modelo\b|\bquem e (?:voce|tu)\b|\bseu nome\b|\bteu nome\b"
    r"|\bchi sei\b|\bcome ti chiami\b|\bil tuo nome\b|\bwie ben je\b|\bhoe heet je\b|\bkim jestes\b|\bsen kimsin\b"
    r"|\bsiapa (?:kamu|anda)\b|\bban la ai\b"
)
ASKS_WHO_OTHER = (
    r"你是谁|您是谁|你是誰|你叫什么|你叫什麼|你的名字|谁(?:开发|创造|训练|制造|研发)了?(?:你|您)|你是(?:什么|哪个|哪款|哪家)"
    r"|你是由|кто ты|кто вы|как тебя зовут|как вас зовут|какая ты модель|кто тебя (?:создал|сделал)|хто ти"
    r"|あなたは(?:誰|だれ|何)|あなたの名前|お名前|누구(?:세요|야|니|입니까)|이름이 (?:뭐|무엇)|من أنت|ما اسمك"
    r"|तुम कौन|आप कौन|ποιος είσαι|מי אתה"
)
# What is added to a family's name: GPT-4o mini, Claude 3.5 Sonnet, Llama-3.1-8B-Instruct.
VERSION = (
    r"(?:[\s._-]{0,2}(?:v?\d+(?:[.,]\d+)*[a-z]{0,3}|turbo|pro|flash|sonnet|opus|haiku|instruct|chat|mini|nano|ultra|large"
    r"|small|medium|coder|max|plus|lite|vision|neo|nemo|preview|thinking|reasoner|o)(?![^\W\d_])){0,5}"
)
