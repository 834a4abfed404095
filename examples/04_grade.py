"""Grade an answer with a grader in OpenAI's JSON, offline. Python runs in a closed process."""

from agentloop import graders

spec = {
    "type": "multi",
    "name": "refund",
    "graders": {
        "tool": {
            "type": "string_check",
            "name": "tool",
            "operation": "eq",
            "input": "{{sample.output_tools[0].function.name}}",
            "reference": "refund_order",
        },
        "amount": {
            "type": "python",
            "name": "amount",
            "source": (
                "import json\n"
                "def grade(sample, item):\n"
                "    given = json.loads(sample['output_tools'][0]['function']['arguments'])\n"
                "    return max(0.0, 1.0 - abs(given['amount'] - item['amount']) / item['amount'])"
            ),
        },
    },
    "calculate_output": "0.5 * tool + 0.5 * amount",
}

message = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "refund_order", "arguments": '{"amount": 9.0}'},
        }
    ],
}

with graders.compile(spec) as grader:
    grade = grader.grade(graders.sample_of(message), {"amount": 12.0})
print(f"reward {grade.reward:.3f}, of which {grade.sub_rewards}")
