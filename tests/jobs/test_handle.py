"""A job in hand: what is said when the other side goes silent."""

import pytest

from agentloop.base.errors import ProviderBusy
from agentloop.jobs import handle
from agentloop.jobs.handle import TuningJob
from tests.jobs.test_openai import a_record


def test_who_follows_a_job_when_its_provider_dies_is_told_how_to_go_on(monkeypatch):
    def silent(*_, **__):
        raise ProviderBusy("nobody answers; try again", provider="openai", retry_after=7.0)
        yield

    monkeypatch.setattr(handle, "watch", silent)
    with pytest.raises(ProviderBusy, match="`agentloop jobs watch job_1` follows it") as caught:
        list(TuningJob(a_record(), None, None).watch())
    assert (caught.value.provider, caught.value.retry_after) == ("openai", 7.0)
