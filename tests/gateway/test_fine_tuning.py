"""Fine-tuning as OpenAI's own client asks for it, of a server that is a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
from safetensors import safe_open

from baigong.store.database import Database
from tests.industry.trade import open_platform

pytestmark = pytest.mark.timeout(500)

ROOT = Path(__file__).parents[2]
BASE = "local/tiny"
LABELS = {"a": "yes", "b": "no"}
# Thousands of steps: long enough to be stopped in its middle on any machine.
LONG = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1000}}}


def lines(count: int, start: int = 0) -> bytes:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{word * 3} {number}"},
                {"role": "assistant", "content": label},
            ]
        }
        for number in range(start, start + count)
        for word, label in LABELS.items()
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


class Server:
    """`baigong serve` on a home, which can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "BAIGONG_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}
        environment |= {"BAIGONG_THREADS": "1", "BAIGONG_CACHE_MB": "64", "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "baigong", "serve", "--port", "0"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        found = None
        while found is None:
            line = self.process.stdout.readline()
            assert line, "the server did not start"
            found = re.search(r"listens at (http\S+)", line)
        self.url = found[1]

    def end(self, sign: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(sign)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    @contextmanager
    def client(self, *, is_strict: bool = True):
        with openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key="none",
            max_retries=0,
            _strict_response_validation=is_strict,
        ) as client:
            yield client


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("tuned")
    open_platform(home).database.close()
    server = Server(home)
    yield server
    server.end()


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture
def loose(server):
    """A client that takes a status which its types do not know yet: `paused`."""
    with server.client(is_strict=False) as client:
        yield client


@pytest.fixture(scope="module")
def training(server):
    with server.client() as client:
        return upload(client, lines(12))


@pytest.fixture(scope="module")
def done(server, training):
    """A job that has come to its end."""
    with server.client() as client:
        made = client.fine_tuning.jobs.create(
            model=BASE,
            training_file=training,
            suffix="Help Desk!",
            seed=7,
            metadata={"team": "desk"},
            method={
                "type": "supervised",
                "supervised": {"hyperparameters": {"n_epochs": 8, "learning_rate_multiplier": 0.5}},
            },
        )
        assert made.status == "validating_files"
        assert made.fine_tuned_model is None
        return wait_for(client, made.id, "succeeded")


def upload(client, content, purpose="fine-tune"):
    return client.files.create(file=("rows.jsonl", content), purpose=purpose).id


def wait_for(client, job, *statuses, seconds=240):
    """Poll until a job has one of the statuses; ends early where it never will."""
    deadline = time.monotonic() + seconds
    while True:
        found = client.fine_tuning.jobs.retrieve(job)
        if found.status in statuses:
            return found
        told = [event.message for event in client.fine_tuning.jobs.list_events(job)]
        assert found.status not in {"failed", "cancelled", "succeeded"}, (found.error, told)
        assert time.monotonic() < deadline, (found.status, told)
        time.sleep(0.2)


def said(client, job):
    """What was said of a job, the oldest first."""
    return [event.message for event in client.fine_tuning.jobs.list_events(job, limit=100)][::-1]


def ask(client, model, text="aaa 3"):
    reply = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], max_tokens=4
    )
    return reply.choices[0].message.content


def last_step(client, job):
    steps = [e.data["step"] for e in client.fine_tuning.jobs.list_events(job) if e.data]
    return max(steps, default=0)


def test_a_finished_job_says_what_it_was_and_what_came_of_it(client, done, training):
    assert re.fullmatch(r"ft:local/tiny:baigong:help-desk:[0-9a-f]{8}", done.fine_tuned_model)
    assert (done.model, done.training_file, done.seed) == (BASE, training, 7)
    assert done.metadata == {"team": "desk"}
    chosen = done.hyperparameters
    assert (chosen.n_epochs, chosen.batch_size, chosen.learning_rate_multiplier) == (8, 8, 0.5)
    assert done.trained_tokens > 0
    assert done.finished_at >= done.created_at
    assert done.error is None
    (results,) = done.result_files
    header, *rows = client.files.content(results).text.splitlines()
    assert header == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert [row.split(",")[0] for row in rows] == [str(i) for i in range(1, len(rows) + 1)]
    assert client.files.retrieve(results).purpose == "fine-tune-results"


def test_the_model_answers_at_once_under_its_name(client, done):
    name = done.fine_tuned_model
    assert (ask(client, name, "aaa 3"), ask(client, name, "bbb 4")) == ("yes", "no")
    assert client.completions.create(model=name, prompt="a", max_tokens=1).model == name
    listed = {model.id: model for model in client.models.list()}
    assert listed[name].owned_by == "baigong"
    assert client.models.retrieve(name).id == name
    assert not [other for other in listed if other.startswith("ft-")]


def test_events_tell_the_life_of_a_job_page_by_page(client, done):
    jobs = client.fine_tuning.jobs
    newest = jobs.list_events(done.id, limit=2)
    assert newest.data[0].message == "The job has successfully completed"
    assert newest.has_more
    every = list(jobs.list_events(done.id, limit=3))  # the client turns the pages
    assert len({event.id for event in every}) == len(every)
    told = [event.message for event in every if event.type == "message"][::-1]
    assert told[0] == f"Created fine-tuning job: {done.id}"
    assert "Files validated, moving job to queued state" in told
    assert "Fine-tuning job started" in told
    assert f"New fine-tuned model created: {done.fine_tuned_model}" in told
    assert any("too few to tell anything" in event.message for event in every)
    points = [event.data for event in every if event.type == "metrics"][::-1]
    assert [point["step"] for point in points] == list(range(1, len(points) + 1))
    assert {point["total_steps"] for point in points} == {len(points)}
    assert 0 <= points[-1]["train_mean_token_accuracy"] <= 1
    assert points[-1]["train_loss"] < points[0]["train_loss"]


def test_the_last_three_checkpoints_answer_too(client, done):
    checkpoints = client.fine_tuning.jobs.checkpoints
    found = list(checkpoints.list(done.id, limit=1))
    assert len(found) == 3
    steps = [one.step_number for one in found]
    assert steps == sorted(steps, reverse=True)
    for one in found:
        name = f"{done.fine_tuned_model}:ckpt-step-{one.step_number}"
        assert one.fine_tuned_model_checkpoint == name
        assert one.metrics.step == one.step_number
        assert one.metrics.train_loss > 0
    assert ask(client, found[0].fine_tuned_model_checkpoint) == "yes"
    with pytest.raises(openai.NotFoundError):
        ask(client, f"{done.fine_tuned_model}:ckpt-step-1")


def test_jobs_are_listed_by_page_and_by_metadata(client, done):
    jobs = client.fine_tuning.jobs
    assert done.id in [job.id for job in jobs.list(limit=1)]
    assert [job.id for job in jobs.list(metadata={"team": "desk"})] == [done.id]
    assert list(jobs.list(metadata={"team": "other"})) == []
    assert done.id not in [job.id for job in jobs.list(extra_query={"metadata": "null"})]


def test_what_is_over_cannot_be_stopped(client, done):
    for change in ("cancel", "pause", "resume"):
        with pytest.raises(openai.BadRequestError, match="succeeded"):
            getattr(client.fine_tuning.jobs, change)(done.id)


def test_a_bad_line_fails_the_job_and_is_named(client):
    content = lines(10) + b'{"messages": [{"role": "user", "content": "no answer"}]}\nnot json\n'
    made = client.fine_tuning.jobs.create(model=BASE, training_file=upload(client, content))
    failed = wait_for(client, made.id, "failed")
    assert (failed.error.code, failed.error.param) == ("invalid_training_file", "training_file")
    assert "training.jsonl:21" in failed.error.message
    assert "/training.jsonl" not in failed.error.message
    assert "training.jsonl:22" in failed.error.message
    assert failed.fine_tuned_model is None
    assert client.fine_tuning.jobs.list_events(made.id).data[0].level == "error"


def test_a_validation_row_that_is_trained_on_fails_the_job(client, training):
    again = upload(client, lines(2))
    made = client.fine_tuning.jobs.create(model=BASE, training_file=training, validation_file=again)
    failed = wait_for(client, made.id, "failed")
    assert (failed.error.code, failed.error.param) == ("invalid_validation_file", "validation_file")


def test_fewer_than_ten_rows_are_no_job(client):
    made = client.fine_tuning.jobs.create(model=BASE, training_file=upload(client, lines(4)))
    assert made.status == "failed"
    assert (made.error.code, made.error.param) == ("invalid_n_examples", "training_file")


@pytest.mark.parametrize(
    ("said", "param", "code"),
    [
        ({"model": "local/other"}, "model", "model_not_available"),
        ({"training_file": "file-none"}, "training_file", "file_not_found"),
        ({"validation_file": "file-none"}, "validation_file", "file_not_found"),
        ({"method": {"type": "magic"}}, "method.type", "invalid_value"),
        ({"suffix": "x" * 65}, "suffix", "invalid_value"),
        ({"integrations": [{"type": "wandb"}]}, "integrations", "unsupported_parameter"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "invalid_value"),
        ({"hyperparameters": {"n_epochs": "3"}}, "hyperparameters.n_epochs", "invalid_value"),
        ({"extra_body": {"nonsense": 1}}, "nonsense", "invalid_value"),
        (
            {"method": {"type": "reinforcement", "reinforcement": {}}},
            "method.reinforcement.grader",
            "invalid_value",
        ),
        (
            {
                "method": {
                    "type": "reinforcement",
                    "reinforcement": {"grader": {"type": "python", "name": "g", "source": "1"}},
                }
            },
            "method.reinforcement.grader",
            "invalid_value",
        ),
    ],
)
def test_a_wrong_field_is_named(client, training, said, param, code):
    asked = {"model": BASE, "training_file": training, **said}
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(**asked)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_a_file_for_another_purpose_is_refused(client):
    other = upload(client, lines(10), purpose="assistants")
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model=BASE, training_file=other)
    assert (caught.value.param, caught.value.code) == ("training_file", "invalid_file_purpose")


def preferences(count: int) -> bytes:
    """Rows as OpenAI has them for preferences."""
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"{word * 3} {number}"}]},
            "preferred_output": [{"role": "assistant", "content": label}],
            "non_preferred_output": [{"role": "assistant", "content": "perhaps"}],
        }
        for number in range(count)
        for word, label in LABELS.items()
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_a_model_learns_from_preferences(client):
    options = {"n_epochs": 4, "beta": 0.2, "learning_rate_multiplier": 0.5}
    made = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=upload(client, preferences(12)),
        method={"type": "dpo", "dpo": {"hyperparameters": options}},
    )
    done = wait_for(client, made.id, "succeeded")
    assert done.method.dpo.hyperparameters.beta == 0.2
    assert done.method.dpo.hyperparameters.n_epochs == 4
    points = [e.data for e in client.fine_tuning.jobs.list_events(done.id) if e.data]
    assert points[0]["train_loss"] < points[-1]["train_loss"]  # the newest first
    assert ask(client, done.fine_tuned_model) != ""


def test_a_model_learns_from_a_grader(client):
    rows = [
        {"messages": [{"role": "user", "content": f"{w * 3} {n}"}], "right": LABELS[w]}
        for n in range(6)
        for w in LABELS
    ]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    grader = {
        "type": "text_similarity",
        "name": "near",
        "input": "{{sample.output_text}}",
        "reference": "{{item.right}}",
        "evaluation_metric": "fuzzy_match",
    }
    method = {
        "type": "reinforcement",
        "reinforcement": {"grader": grader, "hyperparameters": {"n_epochs": 1}},
    }
    made = client.fine_tuning.jobs.create(
        model=BASE, training_file=upload(client, content), method=method
    )
    done = wait_for(client, made.id, "succeeded")
    assert done.method.reinforcement.grader.reference == "{{item.right}}"
    assert ask(client, done.fine_tuned_model) is not None


def test_jobs_take_turns_pause_resume_outlive_a_kill_and_are_cancelled(server, loose, training):
    jobs = loose.fine_tuning.jobs
    long = jobs.create(model=BASE, training_file=training, method=LONG).id
    wait_for(loose, long, "running")
    second = jobs.create(model=BASE, training_file=training).id
    wait_for(loose, second, "queued")
    while not (told := [text for text in said(loose, second) if "waits for" in text]):
        time.sleep(0.1)
    assert told == [f"The job waits for build ft-{long[6:14]}"]

    while last_step(loose, long) < 375:  # the first evaluation, and with it the first checkpoint
        time.sleep(0.1)
    assert jobs.pause(long).status == "paused"
    wait_for(loose, second, "running", "succeeded")  # its turn has come
    assert "Fine-tuning job paused" in said(loose, long)
    reached = last_step(loose, long)
    assert kept_step(server.home, long) >= reached
    newest = jobs.checkpoints.list(long).data[0]
    assert newest.step_number <= reached
    assert ask(loose, newest.fine_tuned_model_checkpoint) is not None  # while it is paused
    assert jobs.cancel(second).status == "cancelled"
    wait_for(loose, second, "cancelled")

    assert jobs.resume(long).status in {"queued", "running"}
    while last_step(loose, long) <= reached:
        time.sleep(0.1)
    assert attempts(server.home, long) == 2

    server.end(signal.SIGKILL)
    server.start()
    with server.client(is_strict=False) as client:
        wait_for(client, long, "running")
        while attempts(server.home, long) < 3:
            time.sleep(0.1)
        assert client.fine_tuning.jobs.cancel(long).status == "cancelled"
        wait_for(client, long, "cancelled")
        with pytest.raises(openai.BadRequestError):
            client.fine_tuning.jobs.resume(long)


def attempts(home, job):
    """How often the tuning of a job was begun."""
    return asked(home, "SELECT attempts FROM steps WHERE name = 'tune' AND job = ?", job)


def kept_step(home, job):
    """The step at which a job would go on."""
    build = asked(home, "SELECT id FROM jobs WHERE id = ?", job)
    with safe_open(home / "jobs" / build / "tune" / "checkpoint.safetensors", "np") as file:
        return json.loads(file.metadata()["state"])["step"]


def asked(home, query, job):
    """What the database says of the build of a job."""
    database = Database.in_folder(home)
    build = "(SELECT job FROM fine_tunings WHERE id = ?)"
    with database.read() as connection:
        found = connection.exec_driver_sql(query.replace("?", build), (job,)).scalar()
    database.close()
    return found


def test_deleting_a_model_takes_its_name_back(client, done):
    name = done.fine_tuned_model
    checkpoint = client.fine_tuning.jobs.checkpoints.list(done.id).data[0]
    assert client.models.delete(name).deleted
    listed = [model.id for model in client.models.list()]
    assert not [model for model in listed if model in {name, f"ft-{name[-8:]}"}]
    for gone in (name, checkpoint.fine_tuned_model_checkpoint):
        with pytest.raises(openai.NotFoundError):
            client.models.delete(gone)
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete(BASE)
