"""Files, jobs and models on disk: there or not there, whatever was interrupted."""

import json
import os

import pytest

from agentloop.base.errors import ConfigError, TransitionError
from agentloop.local.disk import atomic
from agentloop.local.disk.files import Files
from agentloop.local.disk.jobs import ARROWS, Jobs, Status, TuningJob
from agentloop.local.disk.models import Model, Models
from agentloop.local.disk.root import Root
from agentloop.local.disk.standing import Standing, leave, stand, standing


def a_job(**fields):
    plain = {
        "id": "ftjob-abcdefgh12345678",
        "created_at": 1,
        "model": "tiny",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}},
        "training_file": "file-1",
        "seed": 1,
    }
    return TuningJob.of({**plain, **fields})


def known(models, name) -> Model:
    found = models.get(name)
    assert found is not None
    return found


def write_text(text):
    return lambda path: path.write_text(text) and None


class TestAtomic:
    def test_a_write_that_fails_leaves_the_old_content(self, tmp_path, monkeypatch):
        path = tmp_path / "x"
        atomic.write(path, b"old")

        def full(_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            atomic.write(path, b"new")
        assert path.read_bytes() == b"old"
        assert [p.name for p in tmp_path.iterdir()] == ["x"]

    def test_a_line_that_was_cut_short_is_not_read_and_not_continued(self, tmp_path):
        path = tmp_path / "lines"
        atomic.append(path, {"n": 1})
        with path.open("ab") as file:
            file.write(b'{"n": 2')
        assert list(atomic.lines(path)) == [{"n": 1}]
        atomic.append(path, {"n": 3})
        assert list(atomic.lines(path)) == [{"n": 1}, {"n": 3}]

    def test_a_folder_appears_complete_and_replaces_what_was_there(self, tmp_path):
        place = tmp_path / "model"
        for content in ("one", "two"):
            aside = atomic.beside(place)
            aside.mkdir()
            (aside / "a").write_text(content)
            atomic.commit(aside, place)
        assert (place / "a").read_text() == "two"
        assert list(tmp_path.iterdir()) == [place]

    def test_only_what_is_ours_is_swept(self, tmp_path):
        (tmp_path / ".git").mkdir()
        atomic.beside(tmp_path / "half").mkdir()
        atomic.beside(tmp_path / "file").write_text("")
        atomic.sweep(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == [".git"]


class TestRoots:
    def test_a_second_owner_is_refused_by_name(self, tmp_path):
        first = Root(tmp_path / "r")
        first.hold()
        first.announce({"pid": 17, "url": "http://127.0.0.1:1"})
        with pytest.raises(ConfigError, match=r"process 17, http://127.0.0.1:1.*another folder"):
            Root(tmp_path / "r").hold()
        first.release()
        second = Root(tmp_path / "r")
        second.hold()
        assert not second.announcement.exists()
        second.release()

    def test_a_folder_that_cannot_be_is_one_sentence(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="cannot use the folder"):
            Root(tmp_path / "file" / "r").hold()


class TestFiles:
    def test_files_are_remembered_in_their_order(self, tmp_path):
        files = Files(tmp_path)
        made = [
            files.add(filename=f"{n}.jsonl", purpose="fine-tune", fill=write_text(str(n)))["id"]
            for n in range(5)
        ]
        again = Files(tmp_path)
        assert [f["id"] for f in again.all()] == made
        assert again.content(made[3]).read_text() == "3"
        assert again.delete(made[0])
        assert not again.delete(made[0])
        assert [f["id"] for f in Files(tmp_path).all()] == made[1:]

    def test_a_file_that_cannot_be_filled_is_not_there(self, tmp_path):
        files = Files(tmp_path)

        def fail(path):
            path.write_text("half")
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            files.add(filename="x", purpose="fine-tune", fill=fail)
        assert files.all() == []
        assert list(tmp_path.iterdir()) == []

    def test_a_file_whose_time_is_over_is_gone(self, tmp_path):
        files = Files(tmp_path)
        made = files.add(filename="x", purpose="fine-tune", fill=write_text("x"), lifetime=-1)
        assert files.get(made["id"]) is None
        assert list(tmp_path.iterdir()) == []


class TestJobs:
    def test_a_job_keeps_its_data_when_the_file_is_deleted(self, tmp_path):
        source = tmp_path / "data"
        source.write_text("rows")
        (tmp_path / "jobs").mkdir()
        jobs = Jobs(tmp_path / "jobs")
        job = jobs.add(a_job(), {"train.jsonl": source})
        source.unlink()
        assert (jobs.folder(job.id) / "train.jsonl").read_text() == "rows"

    def test_states_follow_the_arrows(self, tmp_path):
        jobs = Jobs(tmp_path)
        for n, (state, targets) in enumerate(ARROWS.items()):
            for target in Status:
                id = f"ftjob-{n}{target}"
                jobs.add(a_job(id=id, status=state), {})
                if target in targets:
                    assert jobs.advance(id, target).status is target
                else:
                    with pytest.raises(TransitionError):
                        jobs.advance(id, target)

    def test_an_end_has_a_time_and_survives(self, tmp_path):
        jobs = Jobs(tmp_path)
        job = jobs.add(a_job(), {})
        jobs.advance(job.id, Status.FAILED, error={"code": "x", "message": "y", "param": None})
        (again,) = Jobs(tmp_path).all()
        assert again.done
        assert again.finished_at
        assert again.error
        assert again.error["code"] == "x"

    def test_the_newest_job_is_first_though_they_are_of_one_second(self, tmp_path):
        jobs = Jobs(tmp_path)
        made = [jobs.add(a_job(id=f"ftjob-{n}"), {}).id for n in range(5)]
        assert [job.id for job in Jobs(tmp_path).all()] == made[::-1]

    @pytest.mark.parametrize(
        ("model", "suffix", "name"),
        [
            ("tiny", None, "ft:tiny:local::12345678"),
            ("tiny", "Refund Bot v3!", "ft:tiny:local:refund-bot-v3-:12345678"),
            ("ft:tiny:local:x:abcdefgh", "a:b", "ft:tiny:local:a-b:12345678"),
            ("ft:tiny:local:x:abcdefgh:ckpt-step-3", "y", "ft:tiny:local:y:12345678"),
        ],
    )
    def test_a_tuned_name_has_five_parts(self, model, suffix, name):
        assert a_job(model=model, user_provided_suffix=suffix).tuned_name == name


class TestModels:
    @pytest.fixture
    def folders(self, tmp_path):
        for name in ("base", "models"):
            (tmp_path / name).mkdir()
        (tmp_path / "base" / "config.json").write_text("{}")
        return tmp_path

    def put(self, folders, name, **about):
        folder = folders / "models" / name
        folder.mkdir()
        plain = {"id": f"ft:{name}", "created": 1, "base": "b", "weights": None, "on_base": True}
        (folder / "model.json").write_text(json.dumps({**plain, "adapters": [], **about}))
        return folder

    def test_a_base_is_a_folder_with_a_config(self, folders):
        with pytest.raises(ConfigError, match=r"no config\.json"):
            Models(folders / "models", {"b": folders})
        for name in ("", "ft:b"):
            with pytest.raises(ConfigError, match="cannot name"):
                Models(folders / "models", {name: folders / "base"})

    def test_an_adapter_follows_its_base_to_another_folder(self, folders):
        self.put(folders, "job", weights="/gone", adapters=["adapter-1"])
        models = Models(folders / "models", {"b": folders / "base"})
        found = known(models, "ft:job")
        assert found.weights == folders / "base"
        assert found.adapters == (folders / "models" / "job" / "adapter-1",)

    def test_whole_weights_are_its_own(self, folders):
        folder = self.put(folders, "job")
        models = Models(folders / "models", {"b": folders / "base"})
        assert known(models, "ft:job").weights == folder

    def test_whole_weights_that_adapters_need_are_known(self, folders):
        whole = self.put(folders, "whole")
        self.put(folders, "part", weights=str(whole), adapters=["adapter-1"], on_base=False)
        models = Models(folders / "models", {"b": folders / "base"})
        assert models.leaning_on(known(models, "ft:whole")) == ["ft:part"]
        assert models.leaning_on(known(models, "ft:part")) == []

    def test_what_an_unfinished_job_left_is_forgotten(self, folders):
        self.put(folders, "ftjob-1")
        self.put(folders, "ftjob-1-step-8")
        self.put(folders, "ftjob-12")
        models = Models(folders / "models", {"b": folders / "base"})
        models.forget("ftjob-1")
        assert [model.id for model in models.all()] == ["b", "ft:ftjob-12"]
        assert len(Models(folders / "models", {"b": folders / "base"}).all()) == 2


class TestStanding:
    def filled(self, job, step):
        made = job / "trainer" / f"checkpoint-{step}"
        made.mkdir(parents=True)
        (made / "weights").write_text(str(step))
        return made

    def test_what_is_being_saved_is_not_seen_before_it_is_whole(self, tmp_path):
        half = self.filled(tmp_path, 9)
        assert standing(tmp_path) is None
        stand(tmp_path, half, 9)
        assert standing(tmp_path) == Standing(9, tmp_path / "resume-9")

    def test_the_latest_is_the_one_of_most_steps_and_the_only_one(self, tmp_path):
        stand(tmp_path, self.filled(tmp_path, 9), 9)
        stand(tmp_path, self.filled(tmp_path, 10), 10)
        assert standing(tmp_path) == Standing(10, tmp_path / "resume-10")
        assert not (tmp_path / "resume-9").exists()

    def test_of_two_that_a_crash_left_the_later_counts(self, tmp_path):
        for step in (9, 10):
            self.filled(tmp_path, step).rename(tmp_path / f"resume-{step}")
        assert standing(tmp_path).step == 10

    def test_nothing_is_left_of_a_job_that_is_over(self, tmp_path):
        stand(tmp_path, self.filled(tmp_path, 9), 9)
        self.filled(tmp_path, 12)
        leave(tmp_path)
        assert list(tmp_path.iterdir()) == []
