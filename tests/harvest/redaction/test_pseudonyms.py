"""What stands in for a value: its shape, and nobody's."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.harvest.redaction import Patterns
from agentloop.harvest.redaction.checksums import given_out, iban, luhn
from agentloop.harvest.redaction.numbers import digits
from agentloop.harvest.redaction.pseudonyms import Pseudonyms

SAMPLES = {
    "email": "ann@work.org",
    "phone": "+1 (415) 555-0132",
    "card": "5213-5917-2758-6604",
    "iban": "GB82 WEST 1234 5698 7654 32",
    "ssn": "531-21-7351",
    "ip": "58.74.121.78",
    "secret": "sk-proj-abc123def456ghi789jkl012",
}


@pytest.mark.parametrize(
    ("kind", "value", "false"),
    [
        ("email", "ann@work.org", "person1@example.com"),
        ("phone", "+1 (415) 555-0132", "+1 (555) 555-0101"),
        ("phone", "4155550132", "5555550101"),
        ("phone", "+44 20 7183 8750", "+44 00 0000 0001"),
        ("phone", "(07) 5331 0577", "(00) 0000 0001"),
        ("phone", "986.291.2294x751", "555.555.0101x000"),
        ("card", "5213-5917-2758-6604", "5000-0000-0000-0001"),
        ("card", "378282246310005", "300000000000001"),
        ("iban", "GB82 WEST 1234 5698 7654 32", "GB00 XXXX 0000 0000 0000 01"),
        ("ssn", "531-21-7351", "900-00-0001"),
        ("ip", "58.74.121.78", "192.0.2.1"),
        ("ip", "2a02:8109:9a40::1:2", "2001:db8::1"),
        ("secret", "sk-proj-abc123def456ghi789jkl012", "sk-proj-xxxxxxxxxxxxxxxxxxxxxxx1"),
        ("secret", "hunter22!", "xxxxxxxx1"),
        ("person", "Ann Lee", "Person1"),
    ],
)
def test_it_has_the_shape_of_what_it_stands_for(kind, value, false):
    assert Pseudonyms(()).of(kind, value) == false


def test_one_value_in_two_forms_has_one_pseudonym_in_two_forms():
    row = Pseudonyms(())
    assert row.of("phone", "+1 415 555 0132") == "+1 555 555 0101"
    assert row.of("phone", "(415) 555-0132") == "(555) 555-0101"
    assert row.of("phone", "+49 30 12345678") == "+49 00 00000002"
    assert row.of("phone", "030 12345678") == "000 00000002"
    assert row.of("email", "Ann@Work.org") == row.of("email", "ann@work.org")
    assert row.of("iban", "DE89370400440532013000") == "DE00000000000000000001"
    assert row.of("iban", "DE89 3704 0044 0532 0130 00") == "DE00 0000 0000 0000 0000 01"


def test_two_values_have_two_pseudonyms():
    row = Pseudonyms(())
    assert row.of("phone", "212 555 0132") != row.of("phone", "312 555 0132")
    assert row.of("email", "a@work.org") != row.of("email", "b@work.org")


def test_a_pseudonym_that_the_row_holds_already_is_given_to_nobody():
    row = Pseudonyms(["ask Person1@example.com or 555 555 0101"])
    assert row.of("email", "ann@work.org") == "person2@example.com"
    assert row.of("phone", "+1-415-555-0132") == "+1-555-555-0102"


@pytest.mark.parametrize("kind", SAMPLES)
def test_there_are_enough_of_them_and_none_is_found_again(kind):
    row, given_out = Pseudonyms(()), set()
    for n in range(90):
        false = row.of(kind, _another(kind, n))
        assert Patterns().find(f"call me at {false} now, card {false}, ssn {false}") == []
        given_out.add(false)
    assert len(given_out) == 90


def _another(kind, n):
    """Another value of this kind; whether its check digit is right does not matter here."""
    value = SAMPLES[kind]
    if kind == "ip":
        return f"58.74.121.{n}"
    if kind == "email":
        return f"ann{n}@work.org"
    return f"{value[:-2]}{n:02}"


@given(st.integers(min_value=1, max_value=9_999), st.sampled_from("3456"))
def test_no_card_that_stands_in_for_another_can_be_charged(n, network):
    row = Pseudonyms(())
    row._next["card"] = n
    false = row.of("card", network + "213591727586604")
    assert not luhn(false)
    assert false[0] == network


def test_no_account_and_no_person_can_be_meant():
    row = Pseudonyms(())
    for n in range(200):
        assert not iban(row.of("iban", f"DE8937040044053201{n:04}"))
        assert not given_out(digits(row.of("ssn", f"531-21-{n + 1000}")))


def test_a_row_with_more_machines_than_a_network_holds_has_addresses_for_all():
    row = Pseudonyms(())
    given_out = [row.of("ip", f"58.74.{n // 250}.{n % 250}") for n in range(600)]
    nobodys = (ip_network("192.0.2.0/24"), ip_network("0.0.0.0/8"))
    assert len(set(given_out)) == 600
    assert all(any(ip_address(one) in net for net in nobodys) for one in given_out)
