"""Every case, by its class."""

from tests.hostile.case import Case, by_name
from tests.hostile.cases import binary, compressed, documents, framing, headers, members, numbers, repository, targets

CASES: dict[str, Case] = by_name(
    documents.CASES,
    members.CASES,
    numbers.CASES,
    binary.CASES,
    compressed.CASES,
    headers.CASES,
    framing.CASES,
    targets.CASES,
    repository.CASES,
)
