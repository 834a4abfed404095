"""Every name under which something is told to OpenTelemetry, and the schema that they are of.

Source: open-telemetry/semantic-conventions v1.41.0, docs/gen-ai: the last release that holds the
GenAI conventions, which are "Development" there. They go on in a repository of their own; who moves
to a release of that one changes this file, and `SCHEMA_URL` with it.
"""

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"

SCOPE = "agentloop"
"""The instrumentation that our spans and events are of."""

# ---------------------------------------------------------------------- operations

OPERATION = "gen_ai.operation.name"
CHAT = "chat"
EXECUTE_TOOL = "execute_tool"
INVOKE_AGENT = "invoke_agent"
INVOKE_WORKFLOW = "invoke_workflow"
GUARDRAIL = "guardrail_check"
"""Of our own, as the conventions allow: they have none for guardrails."""
HANDOFF = "handoff"
"""Of our own as well."""

# ---------------------------------------------------------------------- who and where

AGENT_NAME = "gen_ai.agent.name"
CONVERSATION_ID = "gen_ai.conversation.id"
PROVIDER = "gen_ai.provider.name"
OPENAI = "openai"
"""Whoever is asked through OpenAI's API, as the conventions have it."""
OPENAI_API = "openai.api.type"
USER_ID = "user.id"
WORKFLOW_NAME = "gen_ai.workflow.name"

# ---------------------------------------------------------------------- a model call

OUTPUT_TYPE = "gen_ai.output.type"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
USAGE_CACHED = "gen_ai.usage.cache_read.input_tokens"
USAGE_INPUT = "gen_ai.usage.input_tokens"
USAGE_OUTPUT = "gen_ai.usage.output_tokens"
USAGE_REASONING = "gen_ai.usage.reasoning.output_tokens"

SETTINGS = {
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "max_tokens": "gen_ai.request.max_tokens",
    "n": "gen_ai.request.choice.count",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "stop": "gen_ai.request.stop_sequences",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
}
"""A setting's name on OpenAI's wire, and theirs."""

# ---------------------------------------------------------------------- a tool

TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"

# ---------------------------------------------------------------------- what was said

INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"

# ---------------------------------------------------------------------- errors

ERROR_TYPE = "error.type"
OTHER_ERROR = "_OTHER"
"""What the conventions call an error whose class nobody knows."""

# ---------------------------------------------------------------------- what it was worth

EVALUATION = "gen_ai.evaluation.result"
EVALUATION_EXPLANATION = "gen_ai.evaluation.explanation"
EVALUATION_LABEL = "gen_ai.evaluation.score.label"
EVALUATION_NAME = "gen_ai.evaluation.name"
EVALUATION_VALUE = "gen_ai.evaluation.score.value"
FEEDBACK = "feedback"
"""The evaluation that a person's opinion is of; a rule's or a judge's has its name."""

# ---------------------------------------------------------------------- ours

ARM = "agentloop.arm"
AUTHOR = "agentloop.author"
CALL_ID = "agentloop.call.id"
CORRECTION = "agentloop.correction"
GUARDRAIL_TRIGGERED = "agentloop.guardrail.triggered"
HANDOFF_FROM = "agentloop.handoff.from"
HANDOFF_TO = "agentloop.handoff.to"
HELD_OUT = "agentloop.held_out"
INCOMPLETE = "agentloop.incomplete"
REFERENCE = "agentloop.reference"
SOURCE = "agentloop.source"
TAG = "agentloop.tag."
TASK_ID = "agentloop.task.id"
TRACE_ID = "agentloop.trace.id"
TRIAL = "agentloop.trial"
VERSION = "agentloop.version"

EXACT = "agentloop.exact"
"""Beside the parts of a message, or the definition of a tool, that they cannot hold whole: it as it
went over the wire."""
