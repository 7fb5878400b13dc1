"""All measurements of one adapter, in one pass over one loaded model."""

import time

from llmops_assets.evaluation.generation import answer_questions
from llmops_assets.evaluation.inputs import HeldoutDocument, HeldoutPair, HeldoutQuestion, read_rows
from llmops_assets.evaluation.job import EvaluationJob
from llmops_assets.evaluation.model import load_policy
from llmops_assets.evaluation.perplexity import score_documents
from llmops_assets.evaluation.preference import score_pairs
from llmops_assets.evaluation.scores import AdapterScores, SkippedRow
from llmops_assets.evaluation.text import corpus_bleu
from llmops_assets.training.digests import file_sha256


def evaluate(job: EvaluationJob) -> AdapterScores:
    """Run every measurement whose file the job names. All inputs are read before the model is loaded."""
    documents = read_rows(job.perplexity_file, HeldoutDocument) if job.perplexity_file else []
    questions = read_rows(job.questions_file, HeldoutQuestion) if job.questions_file else []
    pairs = read_rows(job.preferences_file, HeldoutPair) if job.preferences_file else []
    policy = load_policy(job.base_model, job.adapter, job.precision, job.quantization)
    started = time.perf_counter()
    skipped: list[SkippedRow] = []

    document_scores = score_documents(policy, documents, job.settings) if documents else []
    _report(f"perplexity of {len(document_scores)} of {len(documents)} documents", started)

    question_scores, without_room = answer_questions(policy, questions, job.settings)
    skipped += without_room
    _report(f"answers to {len(question_scores)} of {len(questions)} questions", started)

    pair_scores, too_long = score_pairs(policy, pairs)
    skipped += too_long
    _report(f"log-probabilities of {len(pair_scores)} of {len(pairs)} preference pairs", started)

    return AdapterScores(
        adapter_sha256=job.adapter.sha256 if job.adapter else None,
        base_digest=job.base_model.digest,
        settings=job.settings,
        inputs={
            name: file_sha256(path)
            for name, path in (
                ("perplexity", job.perplexity_file),
                ("questions", job.questions_file),
                ("preferences", job.preferences_file),
            )
            if path
        },
        documents=document_scores,
        questions=question_scores,
        preferences=pair_scores,
        corpus_bleu=corpus_bleu([row.prediction for row in question_scores], [row.reference for row in question_scores])
        if question_scores
        else None,
        skipped=skipped,
        device=policy.name,
        seconds=time.perf_counter() - started,
    )


def _report(what: str, started: float) -> None:
    print(f"{time.perf_counter() - started:6.1f} s | {what}", flush=True)
