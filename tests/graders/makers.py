"""Graders with plain defaults, so that a test says only what it is about."""

from agentloop.base.records import Json


def string_check(**fields: object) -> Json:
    """Is the answer the item's label?"""
    return {
        "type": "string_check",
        "name": "exact",
        "input": "{{sample.output_text}}",
        "reference": "{{item.label}}",
        "operation": "eq",
        **fields,
    }


def text_similarity(**fields: object) -> Json:
    """How close is the answer to the item's label?"""
    return {
        "type": "text_similarity",
        "name": "close",
        "input": "{{sample.output_text}}",
        "reference": "{{item.label}}",
        "evaluation_metric": "fuzzy_match",
        **fields,
    }


def python(body: str = "return 1.0", **fields: object) -> Json:
    """`body` as the author's function; it may have several lines."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    source = f"def grade(sample, item):\n{lines}\n"
    return {"type": "python", "name": "py", "source": source, **fields}


def score_model(**fields: object) -> Json:
    """A judge says how good the answer is."""
    return {
        "type": "score_model",
        "name": "judge",
        "model": "judge-1",
        "input": [
            {"role": "system", "content": "You grade answers."},
            {"role": "user", "content": "Wanted: {{item.label}}\nAnswer: {{sample.output_text}}"},
        ],
        **fields,
    }


def label_model(**fields: object) -> Json:
    """A judge says whether the answer is good."""
    spec = score_model(type="label_model", labels=["good", "bad"], passing_labels=["good"])
    return {**spec, **fields}


def endpoint(url: str = "http://127.0.0.1:9/", **fields: object) -> Json:
    """A server says what the answer is worth."""
    return {"type": "endpoint", "name": "theirs", "url": url, **fields}


def multi(formula: str = "a", **graders: Json) -> Json:
    """A formula over sub-graders by name."""
    return {
        "type": "multi",
        "name": "all",
        "graders": graders or {"a": string_check()},
        "calculate_output": formula,
    }
