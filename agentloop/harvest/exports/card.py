"""The dataset card beside JSON lines: for `datasets.load_dataset`, and for people.

Source of the format: Hugging Face, "Repository cards" (YAML between two `---`).
"""

import json
from collections.abc import Mapping, Sequence

from agentloop.harvest.exports.forms import Form

SPLITS = {"train": "train", "valid": "validation"}
"""Our side of a split -> what `datasets` calls it."""
YAML = {
    "messages": "list: json",
    "json": "dtype: json",
    "json text": "dtype: string",
    "text": "dtype: string",
    "bool": "dtype: bool",
}
TRAIN = {
    Form.LANGUAGE_MODELING: "Train with `SFTTrainer` and `assistant_only_loss=True`: without it "
    "TRL learns what users and tools say, too.",
    Form.PROMPT_COMPLETION: "Train with `SFTTrainer`. Some turns are not to be learned, and TRL "
    "heeds no `weight`: so there is one row for each turn that is, and its completion alone is "
    "learned.",
    Form.PREFERENCE: "Train with `DPOTrainer`.",
    Form.UNPAIRED: "Train with `KTOTrainer`.",
    Form.PROMPT_ONLY: "Train with `GRPOTrainer`: columns beside `prompt` reach reward functions by "
    "their names. Of tools, the model sees those that the trainer is given as functions.",
}


def card(
    dataset: str, form: Form, types: Mapping[str, str], sides: Sequence[str], *, sha: str
) -> str:
    """The text of `README.md`.

    Args:
        sha: of the rows. `datasets` keeps what it has read under the name of the configuration,
            and would give the rows of an earlier export to the same place: so it is in the name.
    """
    name = json.dumps(f"{dataset}-{sha}")
    files = "".join(f"\n  - split: {SPLITS[side]}\n    path: {side}.jsonl" for side in sides)
    # A JSON text is a YAML text, whatever the field is called.
    columns = "".join(f"\n  - name: {json.dumps(n)}\n    {YAML[t]}" for n, t in types.items())
    texts = [f"`{name}`" for name, type in types.items() if type == "json text"]
    told = f" As JSON texts, for their kinds differ: {', '.join(texts)}." if texts else ""
    return f"""\
---
configs:
- config_name: {name}
  data_files:{files}
dataset_info:
  config_name: {name}
  features:{columns}
---
# {dataset}

The rows of `{dataset}` in TRL's form `{form.value}`; arguments of tool calls are objects.{told}
{TRAIN[form]}

```python
from datasets import load_dataset

rows = load_dataset("PATH OF THIS FOLDER")
```
"""
