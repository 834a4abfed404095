"""Have runs and feedback told to OpenTelemetry, in the application's own providers.

Offline: the spans are printed. An application that has set its providers already says `otel=True`;
to send them somewhere, it gives its provider an exporter, such as OTLP's of the extra `otel`.
"""

import agents
from agents import Agent, RunConfig, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agentloop import AgentLoop, Telemetry

agents.set_trace_processors([])  # keep the SDK's own exporter off the network


@function_tool
def find_order(order_id: str) -> str:
    """Look up an order."""
    return f"order {order_id}: shipped, arrives on friday"


support = Agent(name="support", instructions="You help.", tools=[find_order])
model = ScriptedModel(
    [
        [function_call("find_order", {"order_id": "42"}, call_id="call_1")],
        [assistant_message("Order 42 arrives on Friday.")],
    ]
)

provider, memory = TracerProvider(), InMemorySpanExporter()
provider.add_span_processor(SimpleSpanProcessor(memory))

# What was said is told only where it is asked for: content=True.
with AgentLoop("sqlite:///traces/examples.db", otel=Telemetry(provider, content=False)) as loop:
    request = provider.get_tracer("shop").start_as_current_span("POST /chat")
    with request:
        result = loop.run_sync(support, "Where is order 42?", run_config=RunConfig(model=model))
    loop.rate(result.trace_id, "up", by="u7")

spans = sorted(memory.get_finished_spans(), key=lambda span: span.start_time or 0)
names = {span.context.span_id: span.name for span in spans}
for span in spans:
    inside = names[span.parent.span_id] if span.parent else "nothing"
    print(f"{span.name}, in {inside}")
