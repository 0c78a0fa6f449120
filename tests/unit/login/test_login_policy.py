"""What the settings allow before login."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.login import policy
from dovecotpy.login.policy import Network, PolicyError
from tests.unit.login.login_stage import settings


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("192.0.2.7/24", "192.0.2.1", "192.0.1.7"),
        ("0.0.0.0/0", "255.0.0.1", "::1"),
        ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
        ("::1", "::1", "127.0.0.1"),
    ],
)
def test_networks(text: str, inside: str, outside: str) -> None:
    made = policy.from_settings(settings(login_trusted_networks=("198.51.100.0/25", text)), verbose=False)
    assert made.trusts(inside) and not made.trusts(outside) and not made.trusts("nonsense")


@pytest.mark.parametrize(
    "text", ["", "192.0.2", "192.0.2.0/33", "192.0.2.0/x", "::/129", "192.0.2.0/", "a/8", "::1/-1"]
)
def test_what_is_no_network_is_an_error(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy.network(text)
    assert str(caught.value) == f"login_trusted_networks: Invalid network: {text}"


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_an_address_is_in_its_own_network(address: object, bits: int) -> None:
    made = policy.network(f"{address}/{bits}")
    assert isinstance(made, Network)
    wanted = policy.from_settings(settings(login_trusted_networks=(f"{address}/{bits}",)), verbose=False)
    assert wanted.trusts(str(address))


def test_identification_ignores_an_odd_word_and_what_we_do_not_know() -> None:
    assert policy.identification(("name", "*", "os", "*", "alone")) == b'("name" "Dovecotpy")'
    assert policy.identification(("os", "*")) == b"NIL"
    assert policy.quoted('a"\\\r\n\u00e9') == b'"a\\"\\\\???"'
