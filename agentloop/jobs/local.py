"""Our own provider, `agentloop local serve`: OpenAI's contract on the user's own machine."""

from agentloop.base.records import SERVICES, Api
from agentloop.jobs.openai import OpenAI
from agentloop.jobs.provider import Capability


class Local(OpenAI):
    """The local provider at `base_url`. Costs nothing; a key is needed only beyond loopback."""

    name = "local"
    api: Api = "chat"
    capability = Capability(
        **SERVICES["local"].model_dump(),
        graders=(
            *("string_check", "text_similarity", "python", "score_model", "label_model"),
            *("endpoint", "multi"),
        ),
        bills=False,
    )

    def _without_key(self) -> str:
        return "none"

    def _unreachable(self) -> str:
        return (
            f"the local provider does not answer at {self.base_url}; "
            "start it with `agentloop local serve`, then try again"
        )
