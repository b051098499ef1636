"""Arrays as files of NumPy's through a real server, and the commands of docs/protocol.md, done."""

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.digits import held_out, logits
from tests.serving import Server

PROTOCOL = Path(__file__).parent.parent.parent / "docs" / "protocol.md"
NPY = "application/x-npy"


def test_held_out_digits_go_as_an_array_and_come_back_as_one(digits_server: Server) -> None:
    rows = held_out()[0][:5].astype("<f4")
    file = io.BytesIO()
    np.save(file, rows)
    headers = {"content-type": NPY, "accept": NPY}
    answer = httpx.post(f"{digits_server.url}/predict?model=digits", content=file.getvalue(), headers=headers)
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(np.load(io.BytesIO(answer.content)), logits(rows), atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_of_the_page_do_what_they_say(digits_server: Server, tmp_path: Path) -> None:
    block = re.search(r"```sh\n(python3 .*?)```", PROTOCOL.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    np.save(tmp_path / "digits.npy", np.zeros((2, 8, 8), np.float32))
    make, commands = block[1].split("\n", 1)
    assert 'numpy.save("digits.npy", numpy.zeros((2, 8, 8), "float32"))' in make
    script = commands.replace("http://127.0.0.1:8000", digits_server.url)
    done = subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True, capture_output=True, text=True)
    answer = json.loads(done.stdout)
    assert [len(row["top"]) for row in answer["predictions"]] == [1, 1]
    np.testing.assert_array_equal(np.load(tmp_path / "logits.npy"), np.array(answer["outputs"]["logits"], np.float32))
