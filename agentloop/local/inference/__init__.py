"""Text from models: a chat in, an assistant's message out. One thread owns torch.

    weights   a model folder becomes a model in memory, adapters merged
    dialect   messages and tools become the prompt that this model was trained on, and labels
    reading   what it wrote becomes text, reasoning and tool calls again
    grammar   what an answer is held to: a schema, calls of a form
    batch     sequences join and leave a running batch; `rows` holds their keys and values
    engine    the thread: models in memory, requests in turn

The same batch generates the rollouts of reinforcement, and the same dialect and reading make
training rows and samples: what is trained is what is served.
"""
