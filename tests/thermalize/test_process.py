"""Coprocesses: what they answer comes back, and whatever else they do is one line."""

import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from helpers.commands import gone
from helpers.paths import EXAMPLES, ROOT
from lemtools.signal import LemError
from lemtools.thermalize import Coprocess
from lemtools.thermalize.process import words

START = np.random.default_rng(0).standard_normal((3, 2, 8)).astype(np.float32)
# a process without any library: `answer(header, body)` for every document; it ends with its input
PLAIN = """
import json, os, sys, time
source, target = sys.stdin.buffer, sys.stdout.buffer
def answers(answer):
    while head := source.read(8):
        header = source.read(int.from_bytes(head, "little"))
        entries = json.loads(header)
        size = max((e["data_offsets"][1] for k, e in entries.items() if k != "__metadata__"), default=0)
        answer(head + header, source.read(size))
def echo(head, body):
    target.write(head + body)
    target.flush()
count = 0
def last(head, body):
    global count
    count += 1
    if count < 3:
        echo(head, body)
    else:
        bad(head, body)
"""


@pytest.fixture
def plain(tmp_path):
    """The command of a process that does this."""

    def write(code, name="step.py"):
        (tmp_path / name).write_text(PLAIN + textwrap.dedent(code))
        return f"{sys.executable} -S {tmp_path / name}"

    return write


def test_it_answers_bit_for_bit(plain):
    states = START.copy()
    states[1] = np.nan
    states[2, 0, 0] = np.inf
    with Coprocess(plain("answers(echo)")) as process:
        for _ in range(50):
            back = process.step(states)  # (the same one again and again is nothing bad)
            assert back.tobytes() == states.tobytes() and back.dtype == np.float32
    assert process.steps == 50 and process.stopped == ""
    assert process.process.returncode == 0


def test_states_larger_than_a_pipe_do_not_lock_it(plain):
    """Whoever answers in pieces while it still reads, and talks besides, waits for nobody."""
    code = """
    def pieces(head, body):
        sys.stderr.write("word " * 50000 + "\\n")
        echo(head, body)
    while head := source.read(8):
        length = int.from_bytes(head, "little")
        header = source.read(length)
        left = max((e["data_offsets"][1] for k, e in json.loads(header).items() if k != "__metadata__"), default=0)
        echo(head, header)
        while left:
            sys.stderr.write("word " * 1000 + "\\n")
            piece = source.read(min(left, 65536))
            echo(piece, b"")
            left -= len(piece)
    """
    states = np.random.default_rng(1).standard_normal((4, 1, 1 << 20)).astype(np.float32)
    with Coprocess(plain(code), timeout=20) as process:
        assert all((process.step(states) == states).all() for _ in range(2))


def test_a_slow_process_is_not_a_silent_one(plain):
    """The time counts from its last byte, not from the start."""
    with Coprocess(plain("answers(lambda head, body: (time.sleep(0.3), echo(head, body)))"), timeout=1) as process:
        assert all((process.step(START) == START).all() for _ in range(5))


def test_other_writers_of_safetensors_answer_too(plain):
    """A document without any record of ours, of float64."""
    code = """
    import array
    def foreign(head, body):
        if not body:
            return
        numbers = array.array("d", [2 * v for v in array.array("f", body)]).tobytes()
        head = json.dumps({"u": {"dtype": "F64", "shape": [3, 2, 8], "data_offsets": [0, len(numbers)]}}).encode()
        echo(len(head).to_bytes(8, "little") + head, numbers)
    answers(foreign)
    """
    with Coprocess(plain(code)) as process:
        assert (process.step(START) == 2 * START).all()
        assert (process.step(START) == 2 * START).all()
    assert process.stopped == ""


BAD = {
    "status": ("sys.exit('no such network: a.pt')", "ended with exit status 1 after 2 answers: no such network: a.pt"),
    "signal": ("os.kill(os.getpid(), 9)", "was killed by SIGKILL after 2 answers"),
    "well": ("sys.exit(0)", "ended with exit status 0 after 2 answers"),
    "half": ("echo(head, body[:-1]); sys.exit(3)", "ended with exit status 3 after 2 answers"),
    "words": ("print('epoch 3', file=sys.stderr, flush=True); time.sleep(60)", "was silent for 1 s .*flush.*: epoch 3"),
    "print": ("print('done: 3 steps in all'); echo(head, body)", "wrote what is no document of states"),
    "shape": ("echo(head.replace(b'[3,2,8]', b'[3,4,4]'), body)", r"answered states \[3, 4, 4\] to states \[3, 2, 8\]"),
    "integers": ("echo(head.replace(b'F32', b'I32'), body)", "field|float32"),
    "twice": ("echo(head, body); echo(head, body); time.sleep(.2)", "before it was asked|more often than it was asked"),
    "closed": ("os.close(1); time.sleep(60)", "closed its standard output after 2 answers"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_one_line(plain, name, monkeypatch):
    monkeypatch.setattr("lemtools.thermalize.process._GRACE", 1)
    code, said = BAD[name]
    process = Coprocess(plain(f"def bad(head, body):\n    {code}\nanswers(last)"), timeout=1)
    with pytest.raises(LemError, match=said) as caught, process:
        for _ in range(4):
            process.step(START)
    assert "\n" not in str(caught.value) and "step.py" in str(caught.value)
    assert gone(process.process.pid)


def test_one_answer_too_many_is_noticed_at_the_end(plain):
    """As of a process that begins by writing its own start: all answers would be those of the step before."""
    process = Coprocess(plain("def bad(head, body):\n    echo(head, body); echo(head, body)\nanswers(last)"))
    with pytest.raises(LemError, match="answered more often than it was asked, which was 3 answers"), process:
        for _ in range(3):
            process.step(START)


def test_a_banner_is_shown(plain):
    process = Coprocess(plain("print('loading the model', flush=True); answers(echo)"))
    with pytest.raises(LemError, match="wrote 'loading the model.* before it was asked"), process:
        assert select.select([process.pipes], [], [], 20)[0]
        process.step(START)


def test_a_bad_end_is_no_error_but_kept(plain, monkeypatch):
    monkeypatch.setattr("lemtools.thermalize.process._GRACE", 0.5)
    with Coprocess(plain("answers(echo); sys.exit('goodbye')")) as process:
        process.step(START)
    assert "ended with exit status 1: goodbye" in process.stopped
    with Coprocess(plain("answers(echo); time.sleep(60)")) as process:
        process.step(START)
    assert "it was stopped" in process.stopped and gone(process.process.pid)


def test_what_it_says_is_passed_on(plain, capfd):
    with Coprocess(plain("sys.stderr.write('first\\nsecond'); sys.stderr.flush(); answers(echo)")) as process:
        process.step(START)
    assert capfd.readouterr().err == "first\nsecond"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_orphan(plain, tmp_path, number):
    """Neither the process nor those that it began itself, behind a shell."""
    step = plain("""
    import subprocess
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    open(sys.argv[1], "w").write(f"{os.getpid()} {child.pid} \\n")
    answers(lambda head, body: time.sleep(60))
    """)
    pids = tmp_path / "pids"
    code = f"""if True:
        import signal
        import numpy as np
        from lemtools.cli.run import _raise_killed
        from lemtools.thermalize import Coprocess
        signal.signal({int(number)}, _raise_killed)
        with Coprocess({f"{step} {pids} | cat"!r}) as process:
            process.step(np.zeros((1, 1, 4)))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": ROOT}
    )
    while not (pids.exists() and pids.read_text().endswith("\n")):
        assert process.poll() is None
        time.sleep(0.02)
    found = list(map(int, pids.read_text().split()))
    process.send_signal(number)
    process.wait(20)
    time.sleep(0.1)
    assert len(found) == 2 and all(map(gone, found))


def test_an_exception_ends_it(plain):
    with pytest.raises(ZeroDivisionError), Coprocess(plain("answers(echo)")) as process:
        process.step(START)
        raise ZeroDivisionError
    assert gone(process.process.pid)


@pytest.mark.parametrize(
    "command, found",
    [
        ("python step.py --rate .5", ["python", "step.py", "--rate", ".5"]),
        ("python 'my step.py' \"it's\" a\\ b", ["python", "my step.py", "it's", "a b"]),
        ("python -c 'print(x[0]); y > 3'", ["python", "-c", "print(x[0]); y > 3"]),
        ('python -c "a | b"', ["python", "-c", "a | b"]),
        ("./step {a,b} 50%", ["./step", "{a,b}", "50%"]),
        *(
            (line, ["/bin/sh", "-c", line])
            for line in ("a | b", "a $HOME", 'a "$HOME"', "a > b", "N=1 a", "a *.py", "cd b && a")
        ),
    ],
)
def test_a_shell_only_where_it_is_asked_for(command, found):
    assert words(command) == found


def test_commands_that_are_none():
    for command, said in (("", "no command"), ("  ", "no command"), ("a 'b", "no closing quotation")):
        with pytest.raises(LemError, match=said):
            Coprocess(command)
    with pytest.raises(LemError, match="no-such-program: No such file"), Coprocess("no-such-program step.py"):
        pass
    process = Coprocess("no-such-program | cat 1>&2; exit 127")
    with pytest.raises(LemError, match="exit status 127 after 0 answers: .*not found"), process:
        process.step(START)


def test_the_example_in_python():
    """examples/exec/step.py steps as the solver does."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        import dynamics
    finally:
        sys.path.pop(0)
    system = dynamics.SYSTEMS["lorenz96"]
    states = system.start(3, 0, spin=5).astype(np.float32)
    with Coprocess(f"{sys.executable} {EXAMPLES / 'exec' / 'step.py'} lorenz96") as process:
        for _ in range(3):
            after = process.step(states)
            assert after.tobytes() == system.step(states.astype(np.float64)).astype(np.float32).tobytes()
            states = after
    assert process.stopped == ""


def test_the_example_in_c(tmp_path):
    """examples/exec/step.c: heat on a ring; each of its waves decays by a factor that is known."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler (cc, gcc or clang)")
    line = [compiler, "-O2", "-Wall", "-Werror", "-o", tmp_path / "step", EXAMPLES / "exec" / "step.c"]
    subprocess.run(line, check=True)
    x = 2 * np.pi * np.arange(40) / 40
    states = np.stack([[np.cos(k * x), np.sin(k * x)] for k in (0, 1, 7)]).astype(np.float32)
    decay = np.array([1 - 0.5 * (1 - np.cos(2 * np.pi * k / 40)) for k in (0, 1, 7)])[:, None, None]
    with Coprocess(f"{tmp_path / 'step'} 40") as process:
        after = states
        for _ in range(10):
            after = process.step(after)
    assert abs(after - states * decay**10).max() < 1e-5
    assert process.stopped == ""
