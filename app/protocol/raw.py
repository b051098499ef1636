"""The raw dialect: a body that is the model's only input, as .npy or as a medium. The query says the rest."""

from app.contract.tensors import InputSpec, Signature
from app.errors import InvalidInput
from app.protocol import media, native, npy
from app.protocol.messages import Content, InferRequest, Inputs, Timings
from app.protocol.query import Query

MEDIA_TYPES = (npy.MEDIA_TYPE, *media.MEDIA)


def decode(body: Content, timings: Timings, _: int | None = None, *, media_type: str, query: Query) -> InferRequest:
    """The request in a body of one of MEDIA_TYPES. It raises nothing: what is wrong, the model's signature tells."""

    def read_inputs(signature: Signature) -> Inputs:
        native.check(query.parameters, signature, "query")
        spec = _only_input(signature, media_type)
        if media_type == npy.MEDIA_TYPE:
            return {spec.name: npy.read(memoryview(body), spec, "body")}
        return {spec.name: media.read_body(body, media_type, spec)}

    request = InferRequest(query.model, query.version, read_inputs, timings)
    native.apply(query.parameters, request)
    return request


def _only_input(signature: Signature, media_type: str) -> InputSpec:
    if len(signature.inputs) > 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise InvalidInput.field("content-type", expected=f"application/json with the inputs {names}", got=media_type)
    return signature.inputs[0]
