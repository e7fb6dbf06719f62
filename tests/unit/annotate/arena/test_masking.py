"""A model that names itself is masked before a voter can read it, in whatever disguise; innocent answers stay whole."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from annotate.arena.masking import growing_mask
from annotate.arena.masking import masked_text as masking
from annotate.arena.masking.masked_text import HIDDEN, MaskingContext, names_itself, shown

TOLD = MaskingContext(names=("Aardvark-7B", "SmolLM2-135M-instruct", "heron"), question="Tell me something.")

SHARED = Path(os.environ.get("ASSAY_SHARED_DATA", Path(__file__).parents[5] / "shared" / "data"))

# What is said, and the parts that nobody may read.
IDENTIFYING = [
    ("I'm Smol LM 2, made by HuggingFace.", ["Smol", "LM"]),
    ("I am <b>Smol</b><i>LM</i>.", ["Smol", "LM"]),
    (r"I am \text{SmolLM}.", ["SmolLM"]),
    ("I am ꜱᴍᴏʟʟᴍ.", ["ꜱᴍᴏʟ"]),
    ("I am 🇸molLM.", ["molLM"]),
    ("It is U21vbExNMg== in base64.", ["U21v"]),  # SmolLM2
    ("SSBhbSBTbW9sTE0yLCBtYWRlIGJ5IEh1Z2dpbmcgRmFjZQ==", ["SSBh"]),  # I am SmolLM2, made by Hugging Face
    ("As a model from Google, I have none.", ["Google"]),
    ("The model answering you is ChatGPT.", ["ChatGPT"]),
    ("Я GigaChat от Сбера.", ["GigaChat"]),
    ("I am GPT-4, a language model.", ["GPT"]),
    ("I'm ChatGPT.", ["ChatGPT"]),
    ("I’m ChatGPT, made by OpenAI.", ["ChatGPT", "OpenAI"]),
    ("As Claude, I cannot say.", ["Claude"]),
    ("I am a large language model trained by Google.", ["Google"]),
    ("I am a large language model, trained by Google DeepMind.", ["Google", "DeepMind"]),
    ("As an AI developed by OpenAI, I have no opinion.", ["OpenAI"]),
    ("As a language model trained by Meta AI, I have none.", ["Meta"]),
    ("I was created by Anthropic to be helpful.", ["Anthropic"]),
    ("I'm an AI assistant made by the team at Mistral AI.", ["Mistral"]),
    ("That is what my creators at OpenAI want.", ["OpenAI"]),
    ("My name is Llama 3.1.", ["Llama", "3.1"]),
    ("I'm actually Qwen2.5-7B-Instruct by Alibaba Cloud.", ["Qwen", "7B", "Alibaba"]),
    ("I'm the Gemini 1.5 Pro model.", ["Gemini", "1.5"]),
    ("I am not ChatGPT, I am Claude.", ["ChatGPT", "Claude"]),
    ("I am Falcon, an AI model.", ["Falcon"]),
    ("You're talking to DeepSeek-V3.", ["DeepSeek", "V3"]),
    ("ChatGPT: Sure!", ["ChatGPT"]),
    ("Claude here! What is it?", ["Claude"]),
    ("That is all.\n\nBest regards,\nChatGPT", ["ChatGPT"]),
    ("OpenAI trained me on data.", ["OpenAI"]),
    ("Hugging Face has built me.", ["Hugging"]),
    ("Anthropic made me helpful.", ["Anthropic"]),
    ("As a product of Anthropic, I cannot.", ["Anthropic"]),
    ("My training by OpenAI ended in 2023.", ["OpenAI"]),
    ("It's me, Gemini!", ["Gemini"]),
    ("I, Claude, think so.", ["Claude"]),
    ("Being Claude, I'd say no.", ["Claude"]),
    ("Hello, this is the assistant Qwen.", ["Qwen"]),
    ("Claude is what people call me.", ["Claude"]),
    ("[ChatGPT] Hello.", ["ChatGPT"]),
    # Other languages
    ("Ich bin ein KI-Sprachmodell namens Mistral Large.", ["Mistral"]),
    ("Ich wurde von OpenAI entwickelt.", ["OpenAI"]),
    ("Je suis Claude, un assistant.", ["Claude"]),
    ("J'ai été créé par Anthropic.", ["Anthropic"]),
    ("Soy Gemini, un modelo de lenguaje.", ["Gemini"]),
    ("Fui desarrollado por OpenAI.", ["OpenAI"]),
    ("Me llamo Claude.", ["Claude"]),
    ("Eu sou o ChatGPT.", ["ChatGPT"]),
    ("Mi chiamo Gemma.", ["Gemma"]),
    ("Ik ben Claude.", ["Claude"]),
    ("我是通义千问，一个语言模型。", ["通义千问"]),
    ("我是由阿里云开发的语言模型。", ["阿里云"]),
    ("我是ChatGPT，一个助手。", ["ChatGPT"]),
    ("私はClaudeです。", ["Claude"]),
    ("저는 ChatGPT입니다.", ["ChatGPT"]),
    ("Я — ChatGPT, языковая модель.", ["ChatGPT"]),
    ("Меня зовут Qwen.", ["Qwen"]),
    ("Меня создала компания OpenAI.", ["OpenAI"]),
    # Disguises
    ("I am C l a u d e.", ["C l a u d e"]),
    ("I am G-P-T-4.", ["G-P-T"]),
    ("I am g.p.t.", ["g.p.t"]),
    ("I am Сlаudе.", ["lаudе"]),  # with Cyrillic letters
    ("I аm Claude.", ["Claude"]),
    ("I am Cl**au**de.", ["au"]),
    ("I am **Claude**.", ["Claude"]),
    ("I am Cl4ude 3.5 Sonnet.", ["Cl4ude", "Sonnet"]),
    ("I am 0penAI's model, trained by 0penAI.", ["0penAI"]),
    ("I am Clau\u200bde.", ["Clau"]),
    ("I am Ｃｌａｕｄｅ.", ["Ｃｌａｕｄｅ"]),
    ("I am &#67;laude.", ["laude"]),
    ("I am CLAUDE.", ["CLAUDE"]),
    ("I am Cláude.", ["Cláude"]),
    # What the models are called here
    ("This is SmolLM2-135M-instruct.", ["SmolLM2", "135M"]),
    ("smollm2 135m instruct greets you.", ["smollm2", "135m"]),
    ("Aardvark 7B has been asked before.", ["Aardvark"]),
    ("I am Aardvark.", ["Aardvark"]),
    ("Heron here, what can I do?", ["Heron"]),
]

INNOCENT = [
    "An internationalization of documentation, abcdefgh and QUJDREVGR0g= in base64.",
    "As a gift from Google, I got a book; if x <y, <b>bold</b> it.",
    "I am a fan of Llama.",
    "I am a Gemini and you are a Leo.",
    "The model GPT-4 was released by OpenAI in 2023.",
    "A heron is a bird that stands in shallow water.",
    "I am a llama, said the llama.",
    "Claude Monet painted it, and I am fond of it.",
    "Google was founded in 1998 by two students.",
    "I use ChatGPT every day at work.",
    "As Google grew, it hired more people.",
    "As Apple has shown, design matters.",
    "I am interested in apple pies.",
    "I was impressed by Google and its offices.",
    "I work at a bank, and my brother works at Meta.",
    "I am writing to Microsoft about my order.",
    "The best models are GPT-4 and Claude.",
    "- GPT-4\n- Claude\n- Gemini",
    "I modelli più noti sono GPT-4 e Claude.",
    "Die bekanntesten Modelle sind GPT-4 und Claude.",
    "I am in bloom, said the rose.",
    "I am Hermes, the messenger of the gods.",
    "I was trained by meta-learning over many tasks.",
    "Je suis le chat botté.",
    "我使用ChatGPT写作。",
    "我是ChatGPT的用户。",
    "私はChatGPTを使います。",
    "저는 ChatGPT를 사용합니다.",
    "Ben and Alexa went home.",
    "The mistral is a cold wind; I am used to it.",
    "I am happy to help. The bard Homer sang of Troy.",
    "My name is Sarah and I live near the Amazon.",
    "I am from Peru, where alpacas live.",
    "I am a fan of the phone made by Apple.",
    "I was made happy by Google.",
    "He said that he was trained by Apple.",
    "Google made me happy.",
    "Apple made me buy another one.",
    "My brother and I use Claude.",
    "(Claude Monet) painted it.",
    "This is the model of a palm.",
    "The film was made by Amazon.",
    "As a language teacher, I read a lot.",
    "I am a pilot. My copilot is Anna.",
    "Phi is the golden ratio, about 1.618.",
    "Opt for the smaller one; I am sure it is enough.",
    "I'm not a doctor, but see one soon.",
    "A palm is a tree. I am sitting under one.",
]


@pytest.mark.parametrize(("text", "parts"), IDENTIFYING)
def test_what_tells_the_model_is_hidden(text, parts):
    seen = shown(text, TOLD, is_whole=True)
    assert names_itself(text, TOLD) and HIDDEN in seen
    assert not [part for part in parts if part in seen]


@pytest.mark.parametrize("text", INNOCENT)
def test_what_tells_nothing_stays_as_it_is(text):
    assert shown(text, TOLD, is_whole=True) == text


@pytest.mark.parametrize("text", [text for text, _ in IDENTIFYING] + INNOCENT)
def test_what_was_shown_of_an_answer_is_the_beginning_of_what_is_shown_at_last(text):
    """However the pieces fall: what has been seen is never taken back, and so was never a name."""
    for more in ("", " And so on, for as long as it takes to say it all.", "\n\n" + random.Random(1).choice(INNOCENT)):
        whole = text + more
        at_last = shown(whole, TOLD, is_whole=True)
        for length in range(len(whole)):
            assert at_last.startswith(shown(whole[:length], TOLD, is_whole=False)), length


@pytest.mark.parametrize("text", [text for text, _ in IDENTIFYING])
@pytest.mark.parametrize("before", ["", "The tide is the sea's rise and fall. "])
def test_no_part_of_a_name_is_shown_while_it_is_written(text, before):
    parts = dict(IDENTIFYING)[text]
    for length in range(len(before + text)):
        seen = shown((before + text)[:length], TOLD, is_whole=False)
        assert not [part for part in parts if part in seen], (length, seen)


@pytest.mark.slow
def test_an_answer_that_goes_on_is_held_back_by_a_few_words_at_most():
    text = " ".join(INNOCENT[:3] * 10)
    behind = [n - len(shown(text[:n], TOLD, is_whole=False)) for n in range(len(text))]
    assert max(behind) < 60 and sum(behind) / len(behind) < 20


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("Who made Gemini?", "I am sure: Gemini was made by Google."),
        ("Translate: I am ChatGPT", "Ich bin ChatGPT"),
        ("Tell me about SmolLM2-135M-instruct.", "SmolLM2-135M-instruct is a small model."),
        ("Write as if you worked for Google, in the first person.", "I was trained by Google for a year."),
    ],
)
def test_what_the_visitor_has_named_tells_nothing(asked, answer):
    assert shown(answer, MaskingContext(TOLD.names, asked), is_whole=True) == answer


@pytest.mark.parametrize(
    ("asked", "answer", "hidden"),
    [
        ("Claude, Qwen, ChatGPT: greet me and sign.", "Hello!\n\nBest regards,\nQwen", "Qwen"),
        ("Llama or Gemini? Greet me.", "I am Gemini, and I greet you.", "Gemini"),
        ("heron, Aardvark, whoever you may be", "I am Aardvark.", "Aardvark"),
    ],
)
def test_a_list_of_names_to_choose_from_gets_no_answer(asked, answer, hidden):
    told = MaskingContext(TOLD.names, asked)
    assert hidden not in shown(answer, told, is_whole=True) and names_itself(answer, told)
    assert not [n for n in range(len(answer)) if hidden in shown(answer[:n], told, is_whole=False)]
    prose = "Qwen, Claude, ChatGPT, Llama and Gemini are models; a heron is a bird, an aardvark is none."
    assert shown(prose, told, is_whole=True) == prose


def test_a_vote_on_a_name_that_the_visitor_has_typed_is_looked_at():
    """Whoever wants one model to win need only greet it by its name, and see who answers to that."""
    told = MaskingContext(TOLD.names, "Claude! Greet me, please.")
    assert shown("I am Claude, hello.", told, is_whole=True) == "I am Claude, hello."
    assert names_itself("I am Claude, hello.", told) and not names_itself("Claude is a name in French.", told)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("Who are you?", "ChatGPT."),
        ("Who made you?", "OpenAI did, in 2022."),
        ("What model are you?", "The name is Claude; Anthropic stands behind it."),
        ("Are you ChatGPT?", "Yes, ChatGPT it is."),
        ("Wer bist du?", "Man kennt Gemini; Google hat es gebaut."),
        ("你是谁？", "通义千问。"),
        ("What is your name?", "Heron."),
    ],
)
def test_to_whoever_asks_who_it_is_no_name_at_all_is_shown(asked, answer):
    seen = shown(answer, MaskingContext(TOLD.names, asked), is_whole=True)
    assert not [
        name
        for name in ("ChatGPT", "OpenAI", "Claude", "Anthropic", "Gemini", "Google", "千问", "Heron")
        if name in seen
    ]


def test_a_text_made_to_be_slow_is_read_quickly():
    for text in ("I am " + "a large language model " * 4000, "C " * 20_000, "&" * 20_000, "我是" * 20_000):
        shown(text, TOLD, is_whole=False)


@pytest.mark.slow
def test_an_answer_that_grows_is_read_in_time_that_is_linear_in_its_length(monkeypatch):
    told, read = MaskingContext(names=("claude-3",)), []
    monkeypatch.setattr(masking, "shown", lambda text, told, **how: read.append(len(text)) or shown(text, told, **how))
    text = "The lighthouse stands on a rock. I am Claude, by the way. " * 700
    mask, seen = growing_mask.GrowingMask(told), ""
    for end in range(0, len(text), 12):
        now = mask.shown(text[:end], is_whole=False)
        assert now.startswith(seen)
        seen = now
    last = mask.shown(text, is_whole=True)
    assert last.startswith(seen) and last == shown(text, told, is_whole=True)
    assert sum(read) < (growing_mask.GROWTH + 10) * len(text)
    passes = len(read)
    assert mask.shown(text, is_whole=True) == last and len(read) == passes


def test_answers_of_real_models_to_real_questions_are_left_whole():
    """PandaLM's test set: 1,998 answers of LLaMA, BLOOM, OPT, Pythia and others, none of which names itself."""
    path = SHARED / "pandalm-testset-v1.json"
    if not path.exists():
        pytest.skip(f"no {path}: set ASSAY_SHARED_DATA to the folder that has it")
    rows = json.loads(path.read_text())
    answers = [
        (f"{row['instruction']} {row['input']}", str(row[k])) for row in rows for k in ("response1", "response2")
    ]
    assert len(answers) == 1998
    assert sum(names_itself(text, MaskingContext(TOLD.names, asked)) for asked, text in answers) <= 2
