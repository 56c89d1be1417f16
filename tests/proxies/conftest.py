"""Fixtures of the tests behind proxies: a private authority, the servers, and the route from a public name."""

import contextlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import trustme

from tests.proxies.deployed import OUTER, Public, issuing, published
from tests.proxies.reverse import COMPOSE, KINDS, SHAPES, Certificate, file_of, require, settings_in
from tests.proxies.tunnel import tunnelling
from tests.support.serving import Idp

PLACES = [(kind, shape) for shape in SHAPES for kind in KINDS] + [("compose", "one-host")]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for each name that the files of ``deploy/`` use."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    made = authority.issue_cert("example.com", "auth.example.com", "mcp.example.com")
    certificate = Certificate(*(folder / name for name in ("chain.pem", "key.pem", "both.pem", "authority.pem")))
    for blob in made.cert_chain_pems:
        blob.write_to_path(str(certificate.chain), append=True)
    made.private_key_pem.write_to_path(str(certificate.key))
    made.private_key_and_cert_chain_pem.write_to_path(str(certificate.both))
    authority.cert_pem.write_to_path(str(certificate.authority))
    return certificate


@pytest.fixture(scope="module")
def idp_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Idp]]:
    """The IdP for one shape, shared by all proxies."""
    with contextlib.ExitStack() as stack:

        @cache
        def started(shape: str) -> Idp:
            settings = settings_in(file_of("caddy", shape))
            return stack.enter_context(issuing(tmp_path_factory.mktemp(shape), settings))

        yield started


@pytest.fixture(scope="module", params=PLACES, ids="-".join)
def public(
    request: pytest.FixtureRequest,
    idp_of: Callable[[str], Idp],
    certificate: Certificate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Public]:
    """Both servers behind one proxy in one shape."""
    kind, shape = request.param
    path = COMPOSE if kind == "compose" else file_of(kind, shape)
    require("caddy" if kind == "compose" else kind, *([OUTER[kind]] if shape == "behind-another" else []))
    folder: Path = tmp_path_factory.mktemp(f"{kind}-{shape}")
    with tunnelling() as tunnel, published(path, folder, idp_of(shape), certificate, tunnel) as served:
        yield served
