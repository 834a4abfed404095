"""What a fine-tuning service answers, in OpenAI's shapes."""

API = "https://api.openai.com/v1"

FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 10,
    "created_at": 1_700_000_000,
    "filename": "train.jsonl",
    "purpose": "fine-tune",
    "status": "processed",
}


def a_job(**fields):
    return {
        "id": "ftjob-1",
        "object": "fine_tuning.job",
        "created_at": 1_700_000_000,
        "finished_at": None,
        "model": "gpt-4.1-mini",
        "fine_tuned_model": None,
        "organization_id": "org",
        "status": "queued",
        "hyperparameters": {},
        "training_file": "file-1",
        "validation_file": None,
        "result_files": [],
        "trained_tokens": None,
        "seed": 1,
        "error": None,
        **fields,
    }


def page(*items):
    return {"object": "list", "data": list(items), "has_more": False}


def an_event(n, message="Step", **data):
    return {
        "id": f"ftevent-{n}",
        "object": "fine_tuning.job.event",
        "created_at": 1_700_000_000 + n,
        "level": "info",
        "type": "metrics" if data else "message",
        "message": message,
        "data": data or None,
    }


def error(message, code=None):
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}
