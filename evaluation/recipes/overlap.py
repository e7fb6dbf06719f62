"""Measure how much of given references a model's answers say: BLEU, chrF, ROUGE, METEOR.

In: `data/references.jsonl` or `data/other/*.jsonl`, {"id", "prompt": [messages] or text, "references": [texts]}, or
with one "reference" or "completion". The model answers each prompt greedily, once; answers are kept in `answers.jsonl`
as they come, so that a run that was killed goes on. What a model thinks before it answers is no part of its answer.

Every item leaves the sums that its metrics are functions of, so that the corpus figures are those of the field's tools
to the last digit: BLEU and chrF by sacrebleu, ROUGE by rouge-score (F1, no stemming, Lsum by lines), METEOR by nltk.
Several references are taken as each library means it: BLEU counts an n-gram as often as any one reference has it and
takes the length of the nearest; chrF, ROUGE and METEOR take the reference that suits best, for each metric anew.

Left out: metrics by a model (BERTScore, COMET), which need weights of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from common import reasoning
from evaluation.recipes import meteor
from evaluation.recipes.common.choice_items import unique_names
from evaluation.recipes.common.outcome import Item, Measured
from evaluation.recipes.word_tokens import is_unspaced, words
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec, drop_torn_line, read_lines
from training.recipes.common import loading
from training.rl.decode import decoder_for
from training.rl.sampler import Sampling, sample

ROUGE = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL", "ROUGE-Lsum": "rougeLsum"}
FEWEST = 2
KEPT = "answers.jsonl"


@dataclass(frozen=True)
class ReferencePrompt:
    """A prompt with good answers to it."""

    id: str
    messages: list[dict[str, str]]
    references: list[str]
    group: str = ""
    judge: str = ""

    @property
    def text(self) -> str:
        return json.dumps([self.messages, self.references], ensure_ascii=False)


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int
    is_cut: bool  # it came to the limit of new tokens
    prompt_is_cut: bool  # the beginning of the prompt found no room


def measure(run: RunDirectory, spec: RunSpec, config: Any) -> Measured:
    prompts, n_all = read(run, config.limit)
    answers = answered(run, spec, config, prompts)
    scorer = Scorer(prompts)
    items = []
    for number, one in enumerate(prompts):
        items.append(item_of(one, answers[one.id], scorer))
        if number % 20 == 0:
            run.progress("comparing answers with references", number, len(prompts))
    by = f" by {judge}" if (judge := prompts[0].judge) else ""
    return Measured(
        task=f"answers beside references{by}",
        items=items,
        signature=f"greedy, {config.max_new_tokens} new tokens, {loading.compute_dtype()}; {scorer.signature()}",
        notes=_notes(config, answers, len(prompts), n_all),
    )


# What is asked


def read(run: RunDirectory, limit: int) -> tuple[list[ReferencePrompt], int]:
    """Return at most `limit` prompts, and how many there were. They are chosen by the hash of their words, so that no
    order of the file is favoured.

    Raises RecipeFailure for a row without prompt or references, and for fewer than two.
    """
    rows = run.rows("references") or [
        row for path in sorted((run.path / "data" / "other").glob("*.jsonl")) for row in read_lines(path)
    ]
    read_prompts = [_prompt_of(row, number) for number, row in enumerate(rows, 1)]
    prompts = [
        replace(one, id=name)
        for one, name in zip(read_prompts, unique_names([one.id for one in read_prompts]), strict=True)
    ]
    if len(prompts) < FEWEST:
        raise RecipeFailure(
            "no_references",
            f"There {'is 1 prompt' if prompts else 'are no prompts'} with references; {FEWEST} are needed.",
            'Choose a task whose rows are {"prompt", "references"}, or examples for instruction tuning, as the second '
            "dataset; or ask people to write answers to eval prompts.",
        )
    chosen = sorted(prompts, key=lambda one: hashlib.sha256(one.text.encode("utf-8", "surrogatepass")).digest())
    kept_ids = {one.id for one in chosen[:limit]}
    return [one for one in prompts if one.id in kept_ids], len(prompts)


def _prompt_of(row: Row, number: int) -> ReferencePrompt:
    messages, references = _prompt(row), _references(row)
    if not messages:
        raise _refused(number, row, "has no prompt", "Add a prompt: a text, or messages with role and content.")
    if not references:
        raise _refused(number, row, "has no reference", "Add a list of good answers: references.")
    for index, text in enumerate(references, 1):
        if not isinstance(text, str) or not text.strip():
            raise _refused(number, row, f"has an empty reference ({index})", "Leave it out, or write one.")
    return ReferencePrompt(
        str(row.get("id") or number), messages, references, str(row.get("group") or ""), str(row.get("judge") or "")
    )


def _refused(number: int, row: Row, problem: str, remedy: str) -> RecipeFailure:
    named = f", {row['id']!r}," if row.get("id") else ""
    return RecipeFailure("bad_item", f"Item {number}{named} {problem}.", remedy)


def _prompt(row: Row) -> list[dict[str, str]]:
    """Return the prompt. A text is one turn of the user's; a whole chat is asked up to its last answer."""
    prompt = row.get("prompt") or row.get("messages") or []
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}] if prompt.strip() else []
    if "prompt" not in row and prompt and prompt[-1].get("role") == "assistant":
        return list(prompt[:-1])
    return list(prompt)


def _references(row: Row) -> list[str]:
    for name in ("references", "reference", "completion"):
        if (references := row.get(name)) is not None:
            return [references] if isinstance(references, str) else list(references)
    messages = row.get("messages") or []
    return [messages[-1].get("content", "")] if messages and messages[-1].get("role") == "assistant" else []


# What is answered


def answered(run: RunDirectory, spec: RunSpec, config: Any, prompts: list[ReferencePrompt]) -> dict[str, Answer]:
    """Return the model's greedy answer to each prompt, by id. The batches are the same whenever it runs, and each is
    kept."""
    done = {row["id"]: Answer(**row["answer"]) for row in _earlier_rows(run)}
    if len(done) == len(prompts):
        return done
    run.progress("loading the model", 0, 1)
    model, tokenizer = loading.load_policy(spec.parent)
    room = _room(model, config)
    tokens_by_id = {one.id: loading.encode_prompt(tokenizer, one.messages, 1 << 30) for one in prompts}
    order = sorted(prompts, key=lambda one: (len(tokens_by_id[one.id]), one.id))
    decoder, end_ids = decoder_for(model.requires_grad_(False), exact=True), loading.eos_token_ids(model, tokenizer)
    run.progress("answering", len(done), len(prompts))
    for start in range(0, len(order), config.batch_size):
        batch = order[start : start + config.batch_size]
        if all(one.id in done for one in batch):
            continue
        samples = sample(
            decoder, [tokens_by_id[one.id][-room:] for one in batch], [0] * len(batch),
            Sampling(config.max_new_tokens, 0.0),
            end_ids=end_ids, pad_id=tokenizer.pad_token_id, device=loading.device(),
        )  # fmt: skip
        rows = zip(batch, samples.tokens.tolist(), samples.lengths.tolist(), samples.finished.tolist(), strict=True)
        new = {
            one.id: Answer(
                reasoning.split(tokenizer.decode(tokens[:length], skip_special_tokens=True)).answer.strip(),
                length, not is_finished, len(tokens_by_id[one.id]) > room,
            )
            for one, tokens, length, is_finished in rows
        }  # fmt: skip
        _keep(run, {name: answer for name, answer in new.items() if name not in done})
        done |= {name: answer for name, answer in new.items() if name not in done}
        run.progress("answering", len(done), len(prompts))
    return done


def _room(model: Any, config: Any) -> int:
    """Return how many tokens a prompt may take; the earliest ones of a longer prompt are left out."""
    window = loading.context_length(model, config.max_length)
    if (room := window - config.max_new_tokens) < 1:
        raise RecipeFailure(
            "too_long",
            f"The context has {window} tokens; {config.max_new_tokens} new tokens leave no space for a prompt.",
            "Lower config.max_new_tokens, or raise config.max_length up to the model's limit.",
            {"max_new_tokens": max(1, window // 2)},
        )
    return room


def _earlier_rows(run: RunDirectory) -> list[Row]:
    """Return what an earlier attempt answered; a torn last line is dropped."""
    drop_torn_line(run.path / KEPT)
    return list(read_lines(run.path / KEPT))


def _keep(run: RunDirectory, answers: dict[str, Answer]) -> None:
    with (run.path / KEPT).open("a", encoding="utf-8") as file:
        file.writelines(_line({"id": name, "answer": answer.__dict__}) for name, answer in answers.items())


def _line(row: Row) -> str:
    return json.dumps(row) + "\n"


# How they are compared


class Scorer:
    """The libraries' own counts for one answer; settings follow from the references alone, the same for all models."""

    def __init__(self, prompts: Sequence[ReferencePrompt]) -> None:
        letters = [c for one in prompts for text in one.references for c in text if c.isalpha()]
        unspaced = sum(map(is_unspaced, letters)) * 2 > len(letters)
        kana = any("\u3040" <= c <= "\u30ff" for c in letters)
        self.bleu = sacrebleu.BLEU(tokenize="13a" if not unspaced else "char" if kana else "zh")
        self.chrf, self.chrf_words = sacrebleu.CHRF(), sacrebleu.CHRF(word_order=2)
        self.rouge = RougeScorer(list(ROUGE.values()), tokenizer=Tokenizer())
        numbers = {len(one.references) for one in prompts}
        self.bleu.num_refs = self.chrf.num_refs = numbers.pop() if len(numbers) == 1 else -1  # sacrebleu's "var"
        self.signatures = {"BLEU": self.bleu.get_signature(), "chrF2": self.chrf.get_signature()}

    def counts(self, answer: str, references: list[str]) -> dict[str, list[float]]:
        streams = [[text] for text in references]
        counts = {
            name: [float(n) for n in metric._extract_corpus_statistics([answer], streams)[0]]
            for name, metric in (("BLEU", self.bleu), ("chrF2", self.chrf), ("chrF2++", self.chrf_words))
        }
        rouge = self.rouge.score_multi(references, answer)
        counts |= {name: [float(rouge[key].fmeasure), 1.0] for name, key in ROUGE.items()}
        return {**counts, "METEOR": [meteor.meteor(answer, references), 1.0]}

    def signature(self) -> str:
        """Return sacrebleu's own words for BLEU and chrF, with the number of references; then the others'."""
        texts = [f"{name}|{signature.format(short=True)}" for name, signature in self.signatures.items()]
        rouge = f"rouge-score {version('rouge-score')}, F1 of the best reference, all scripts, unstemmed"
        return "; ".join([*texts, rouge, meteor.signature()])


class Tokenizer:
    """Split texts for rouge-score: its own words on ASCII, and words of every other script too."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def item_of(one: ReferencePrompt, answer: Answer, scorer: Scorer) -> Item:
    user_texts = [turn["content"] for turn in one.messages if turn.get("role") == "user"]
    return Item(
        id=one.id,
        text=one.text,
        counts=scorer.counts(answer.text, one.references),
        shown={
            "prompt": one.messages,
            "answer": answer.text,
            "references": one.references,
            "answer tokens": answer.tokens,
            "cut off": "yes" if answer.is_cut else "",
        },
        group=one.group,
        searched=(*user_texts, *one.references),
    )


def _notes(config: Any, answers: dict[str, Answer], n: int, n_all: int) -> list[str]:
    cut = sum(answer.is_cut for answer in answers.values())
    prompts = sum(answer.prompt_is_cut for answer in answers.values())
    silent = sum(not answer.text for answer in answers.values())
    notes = []
    if n_all > n:
        notes.append(f"{n} of {n_all} items were used (config.limit).")
    if cut:
        notes.append(
            f"{cut} of {n} answers were cut off at {config.max_new_tokens} tokens (config.max_new_tokens), which "
            "lowers their overlap with longer references."
        )
    if prompts:
        notes.append(f"{prompts} of {n} prompts were too long for the model, which saw only their last tokens.")
    if silent:
        notes.append(f"{silent} of {n} answers are empty and count as no overlap.")
    return notes
