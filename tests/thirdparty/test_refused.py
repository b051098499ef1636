"""Graphs that cannot be served: each is refused by name, wherever somebody looks, and the others are served."""

import os
import subprocess
import sys

import pytest

from tests.thirdparty.conftest import World
from tests.thirdparty.oddities import SERVED
from tests.thirdparty.refused import REFUSED


@pytest.mark.parametrize(("model", "said"), [(name, said) for name, (_, said) in REFUSED.items()], ids=REFUSED)
def test_every_door_says_why(odd: World, model: str, said: str) -> None:
    index = {entry["name"]: entry for entry in odd.client.post("/v2/repository/index").json()}
    assert index[model]["state"] == "UNAVAILABLE"
    assert said in index[model]["reason"]
    for answer in (
        odd.client.get(f"/v2/models/{model}/ready"),
        odd.client.get(f"/v2/models/{model}"),
        odd.client.get(f"/v2/models/{model}/config"),
        odd.client.post("/predict", json={"model": model, "inputs": [[1, 2, 3]]}),
    ):
        assert answer.status_code == 503
        assert answer.json()["error"].startswith(f"model '{model}' version 1 is not ready: ")
        assert said in answer.json()["error"]
        assert str(odd.models) not in answer.text


def test_the_log_says_it_once_for_each_and_warns_of_nothing_else(odd: World) -> None:
    told = [record for record in odd.server.logs if record["level"] != "info"]
    assert sorted(record["model"] for record in told) == sorted(REFUSED)
    for record in told:
        assert record["message"].startswith("load failed: ")
        assert REFUSED[record["model"]][1] in record["message"]
    ready = [record["model"] for record in odd.server.logs if record["message"] == "model ready"]
    assert sorted(ready) == sorted(SERVED)


def test_the_list_has_them_all(odd: World) -> None:
    command = [sys.executable, "-P", "-m", "app", "models", "--models", str(odd.models)]
    environment = os.environ | {"COLUMNS": "200"}
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    names = {line.split()[0] for line in listed.splitlines()[1:]}
    assert names == SERVED.keys() | REFUSED.keys()
