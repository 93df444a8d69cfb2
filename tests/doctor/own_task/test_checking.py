"""`evohpc check-task` on the worked example, whole and with one mistake each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.command_line import call
from support.paths import ROOT

from evohpc.doctor.own_task.rehearsal import Rehearsal, Trained
from evohpc.messages import Candidate, Result, Status

pytestmark = pytest.mark.usefixtures("unsynced")

FEW_STEPS = ("--set", "task_options.steps=20", "--set", "evaluation.time_limit_s=250", "--seconds", "250")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "docs" / "own_task", tmp_path / "own")
    (tmp_path / "own" / "seeds" / "polar.py").unlink()
    return tmp_path / "own"


def test_a_busy_machine_is_no_fault_of_the_seed(
    example: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    detail = "not done after evaluation.time_limit_s = 14: the machine is too busy and gave it 2.8 of 14 CPU s"

    def starved(self: Rehearsal, seed: Candidate, seconds: float) -> Trained:
        return Trained(seed, Result(seed.id, 1, Status.LOST, detail), 14.0, 14.0, 0, [], "")

    monkeypatch.setattr(Rehearsal, "evaluate", starved)
    code, out, _ = call(capsys, "check-task", example / "config.yaml", *FEW_STEPS)
    assert code == 0
    assert "warning  seed-mlp: this machine kept it from being tried: the machine is too busy and gave it 2.8 of" in out
    assert "less busy, or longer: --seconds N" in out


@pytest.mark.slow  # test_rehearsal.py checks a sound task that trains nothing
def test_a_sound_task_has_no_fault_and_shows_its_prompt(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "check-task", example / "config.yaml", *FEW_STEPS)
    assert code == 0, out
    assert err == "nothing to mend\n"
    assert "ok       seed-mlp: error 0." in out
    assert "ok       same score again: seed-mlp has error" in out
    assert "MiB of 2048, 2 checkpoints" in out
    assert "--- a prompt ---\n\"\"\"Metrics:\n{'num_params': '320', 'val_accuracy': " in out
    assert out.endswith("class Model(nn.Module):\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('header="class Model(nn.Module):"', 'header="class Model(nn.Module)"', "end in a colon"),
        ('allowed_imports=("math", "torch")', 'allowed_imports="torch"', "write ('torch',)"),
        ("def build(self, module)", "def build(self)", "build is called as build(module), and is defined as build()"),
        ("lr=0.01", "lr=0.0", "the first checkpoint is as good as any"),
        ("if step % 100 == 0 or step == self.steps:", "if False:", "it yields once, so the untrained model is all"),
        ('inputs={"x": val_x}', 'inputs={"x": val_x, "y": val_y}', "inputs['y'] is labels['y']"),
        ("np.random.default_rng(seed)", "np.random.default_rng()", "prepare makes other train['x'] for the same seeds"),
        ("error=1 - accuracies[best]", "error=accuracies[best]", "is less error better?"),
        ("error=1 - accuracies[best]", "error=labels['z']", "score raised KeyError: 'z' (" + "/"),
        ("return -num_params * error", "return num_params * error", "higher is better"),
        ("self.steps + 1):", "self.stepz + 1):", "AttributeError: 'TwoSpirals' object has no attribute 'stepz' (line"),
        (
            "loss.backward()",
            "(loss + __import__('time').time() % 1 * model(x)[:, 0].mean()).backward()",
            "draw all that",
        ),
    ],
)
def test_a_mistake_is_found(example: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str) -> None:
    task = example / "spirals.py"
    assert old in task.read_text()
    task.write_text(task.read_text().replace(old, new))
    _, out, _ = call(capsys, "check-task", example / "config.yaml", *FEW_STEPS)
    assert said in out
    assert "Traceback" not in out.partition("--- the end of what it printed ---")[0]


@pytest.mark.slow
def test_what_a_seed_printed_is_shown_when_it_fails(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = example / "seeds" / "mlp.py"
    seed.write_text(seed.read_text().replace("return self.out(", "print('here', x.shape)\n        return self.oat("))
    code, out, err = call(capsys, "check-task", example / "config.yaml", *FEW_STEPS)
    assert code == 1
    assert err == "1 to mend first\n"
    assert "FAULT    seed-mlp: shape_error: AttributeError: 'Model' object has no attribute 'oat' (line " in out
    shown = out.partition("--- the end of what it printed ---")[2]
    assert "here torch.Size([600, 2])" in shown
    assert "Traceback" in shown
