"""What bytes are driven through, and what must be true of it. Each raises where something is not."""

import gzip
import time
import zlib
from pathlib import Path
from random import Random
from typing import Any

from app.api.framing import Unreadable, body_of
from app.api.heads import HeadReader
from app.api.status import Answer
from tests.fuzz import answers, chunks, inputs, reference
from tests.fuzz.answers import Received
from tests.fuzz.inputs import Asked, Stream
from tests.fuzz.maker import CODINGS, Maker
from tests.fuzz.world import LARGEST_BODY, Fault, World

SLOW_SECONDS = 2.0
"""Of the thread's own time, which is a few milliseconds otherwise."""
LOOKS = 3
"""At what is slow, before it is a fault."""
LENGTH = b"inference-header-content-length"


class Targets:
    """Everything that is fuzzed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.maker = Maker(world.signatures, Random(0))
        self.models = [reference.Model(name, world.signatures[name], world.folder / name) for name in self.maker.names]
        self._beside = [self.maker.infer_body(name, binary=True) for name in self.maker.names]

    def run(self, data: bytes) -> None:
        """One input, through the target that it is for. What is slow has to be slow each time: a virtual machine that
        is halted for a moment sees that as its thread's own time."""
        given = inputs.unpack(data)
        times: list[float] = []
        while len(times) < LOOKS:
            times.append(self._seconds(given))
            if times[-1] <= SLOW_SECONDS:
                return
        raise Fault(f"took {min(times):.1f} s of the processor for {len(data)} bytes")

    def run_file(self, path: Path) -> None:
        """As run; what is raised tells of the file."""
        data = path.read_bytes()
        try:
            self.run(data)
        except Exception as error:
            error.add_note(f"{path}: {inputs.shown(data)}")
            raise

    def _seconds(self, given: Stream | Asked) -> float:
        """Of the processor, that it takes."""
        begun = time.thread_time()
        if isinstance(given, Stream):
            (_framing if given.kind == inputs.FRAMING else self._connection)(given)
        elif given.kind == inputs.OIP:
            self._oip(given)
        elif given.kind == inputs.NATIVE:
            self._native(given)
        else:
            self._compressed(given)
        return time.thread_time() - begun

    def _connection(self, given: Stream) -> None:
        """Every answer is well-formed, and in whatever pieces the bytes come, they are the same."""
        pieces = given.pieces()
        got = answers.read_all(self._world.connect(pieces, in_turns=given.in_turns), given.content)
        if len(pieces) == 1 or given.in_turns:
            return
        whole = answers.read_all(self._world.connect([given.content], in_turns=False), given.content)
        if len(got) != len(whole) or not all(map(_are_alike, got, whole)):
            raise Fault(f"answered otherwise in pieces of {len(pieces[0])} bytes: {got!r}, at once: {whole!r}")

    def _oip(self, given: Asked) -> None:
        """A 2xx has the model's outputs for what plain decoding reads; a request beside it gets its own answer."""
        model = self._model(given)
        pinned = "/versions/1" if given.how & inputs.PINNED else ""
        path = f"/v2/models/{model.name}{pinned}/infer"
        headers = {} if given.json_length is None else {LENGTH: b"%d" % given.json_length}
        answer = self._ask(path, given, headers, model)
        if answer.status != 200:
            return
        sent = _plainly(lambda: reference.oip_inputs(given.body, given.json_length, model.signature))
        model.check(sent, _outputs(answer))

    def _native(self, given: Asked) -> None:
        model = self._model(given)
        answer = self._ask("/predict", given, {}, model)
        if answer.status == 200:
            self._check_native(given.body, answer)

    def _compressed(self, given: Asked) -> None:
        coding = CODINGS[given.how % len(CODINGS)]
        answer = self._world.ask("/predict", given.body, {b"content-encoding": coding.encode()})[0]
        received = _received(answer, given.body)
        if received.status == 200:
            window = zlib.MAX_WBITS | (0 if coding == "deflate" else 16)
            body = _plainly(lambda: zlib.decompress(given.body, window))
            if len(body) > LARGEST_BODY:
                raise Fault(f"a body of {len(body)} bytes was read")
            self._check_native(body, received)

    def _check_native(self, body: bytes, answer: Received) -> None:
        name = reference.answered_by(answer.body)
        model = self.models[self.maker.names.index(name)]
        sent = _plainly(lambda: reference.native_inputs(body, model.signature))
        model.check(sent, reference.native_outputs(answer.body, model.signature))

    def _model(self, given: Asked) -> reference.Model:
        return self.models[given.model % len(self.models)]

    def _ask(self, path: str, given: Asked, headers: dict[bytes, bytes], model: reference.Model) -> Received:
        """The answer; one that was sent beside it has been checked."""
        body = given.body
        if given.how & inputs.SQUEEZED:
            headers |= {b"accept-encoding": b"gzip"}
        if given.how & inputs.PACKED:
            headers |= {b"content-encoding": b"gzip"}
            body = gzip.compress(body, 1)
        beside = []
        length, other = self._beside[given.model % len(self.models)]
        if given.how & inputs.BESIDE:
            beside.append((f"/v2/models/{model.name}/infer", other, {LENGTH: b"%d" % (length or 0)}))
        first, *others = self._world.ask(path, body, headers, *beside)
        for answer in (_received(answer, other) for answer in others):
            if answer.status != 200:
                raise Fault(f"a good request beside it got {answer!r}")
            model.check(reference.oip_inputs(other, length, model.signature), _outputs(answer))
        return _received(first, path.encode() + given.body)


def _are_alike(one: Received, other: Received) -> bool:
    """Both good or both refused; what has a deadline may be late once and not again."""
    return one.status // 100 == other.status // 100 or not {503, 504}.isdisjoint((one.status, other.status))


def _framing(given: Stream) -> None:
    """A request is cut out of a stream in the same way in whatever pieces that comes, and as RFC 9112 says."""
    whole, cut = _framed([given.content]), _framed(given.pieces())
    if whole != cut:
        raise Fault(f"in pieces {cut!r}, at once {whole!r}")
    if isinstance(whole, tuple) and whole[0] == "chunked" and chunks.content(whole[1]) != whole[2:]:
        raise Fault(f"read {whole!r}, expected {chunks.content(whole[1])!r}")


def _framed(pieces: list[bytes]) -> Any:
    """How a body is sent, its bytes, its content, and what comes after it; `bad` or `part` where it is not whole."""
    reader = HeadReader()
    body = None
    raw = content = unread = b""
    try:
        for piece in pieces:
            unread += piece
            if body is None:
                unread = reader.take(unread)
                if not reader.whole:
                    continue
                reader.target()
                body = body_of(reader.version, reader.fields(), LARGEST_BODY)
                raw = unread
            else:
                raw += piece
            more, unread = body.take(unread)
            content += more
    except Unreadable:
        return "bad"
    if body is None or not body.whole:
        return "part"
    kind = "chunked" if b"transfer-encoding" in reader.fields() else "sized"
    return kind, raw, content, unread


def _received(answer: Answer, sent: bytes) -> Received:
    received = Received(answer.status, dict(answer.header_list()), answer.body)
    answers.check(received, sent)
    if received.headers.get(b"content-encoding") == b"gzip":
        received = Received(received.status, received.headers, gzip.decompress(received.body))
    return received


def _outputs(answer: Received) -> reference.Arrays:
    length = answer.headers.get(LENGTH)
    return reference.oip_tensors(answer.body, None if length is None else int(length), "outputs")


def _plainly(read: Any) -> Any:
    """Raises Fault where plain decoding cannot read what the server has answered."""
    try:
        return read()
    except Exception as error:
        raise Fault(f"the server answered what plain decoding refuses: {error!r}") from error
