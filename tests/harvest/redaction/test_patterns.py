"""What is personal data or a secret, and what only looks like it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.harvest.redaction import KINDS, Patterns, kinds

KEY = "Zk3jd8fJ2kdl92jfKd8s"


def found(text):
    return [(finding.kind, text[finding.start : finding.end]) for finding in Patterns().find(text)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("write to Ann.Lee+shop@mail.work.org, please", "email", "Ann.Lee+shop@mail.work.org"),
        ("mail=ann@work.org", "email", "ann@work.org"),
        ("<ann@bücher.de>", "email", "ann@bücher.de"),
        ("card 4111 1111 1111 1111", "card", "4111 1111 1111 1111"),
        ("5213591727586604 was charged twice", "card", "5213591727586604"),
        ("amex 3782 822463 10005", "card", "3782 822463 10005"),
        ('"card": "4222222222222"', "card", "4222222222222"),
        ("pay DE89 3704 0044 0532 0130 00 NOW", "iban", "DE89 3704 0044 0532 0130 00"),
        ("GB82WEST12345698765432", "iban", "GB82WEST12345698765432"),
        ("it is 531-21-7351", "ssn", "531-21-7351"),
        ("ssn: 531217351", "ssn", "531217351"),
        ("from 58.74.121.78 again", "ip", "58.74.121.78"),
        ("http://58.74.121.78:8080/x", "ip", "58.74.121.78"),
        ("ping 2a02:8109:9a40::1:2!", "ip", "2a02:8109:9a40::1:2"),
        ("call 415-555-0132", "phone", "415-555-0132"),
        ("(415) 555-0132", "phone", "(415) 555-0132"),
        ("+44 20 7183 8750", "phone", "+44 20 7183 8750"),
        ("+4930123456", "phone", "+4930123456"),
        ('{"phone": 4155550132}', "phone", "4155550132"),
        ('{"contact": "0171 2345678"}', "phone", "0171 2345678"),
        ("Tel.: 030/12345678", "phone", "030/12345678"),
        ("reach me at 20 7183 8750", "phone", "20 7183 8750"),
        ("(+358) 414171872", "phone", "(+358) 414171872"),
        ("my number is 07405462", "phone", "07405462"),
        ("+55 21 3810-0008", "phone", "+55 21 3810-0008"),
        ("993.834.9141x978 mobile", "phone", "993.834.9141x978"),
        ("card number 676213550699 is lost", "card", "676213550699"),
        ("Desk: 986.291.2294x751", "phone", "986.291.2294x751"),
        ("key sk-proj-abc123def456ghi789jkl012", "secret", "sk-proj-abc123def456ghi789jkl012"),
        ("AKIAIOSFODNN7EXAMPLE", "secret", "AKIAIOSFODNN7EXAMPLE"),
        ("ghp_" + "a1B2" * 9, "secret", "ghp_" + "a1B2" * 9),
        ("hf_" + "aB" * 17, "secret", "hf_" + "aB" * 17),
        ("AIza" + "aB-3_" * 7, "secret", "AIza" + "aB-3_" * 7),
        ("Authorization: Bearer 5f4dcc3b5aa765d61d83", "secret", "5f4dcc3b5aa765d61d83"),
        (f"API_KEY={KEY}", "secret", KEY),
        (f'{{"client_secret": "{KEY}"}}', "secret", KEY),
        (f'\\"api_key\\": \\"{KEY}\\"', "secret", KEY),
        ("my password is hunter22!", "secret", "hunter22!"),
        ("postgres://bob:s3cret@db.work.org/x", "secret", "s3cret"),
    ],
)
def test_it_is_found(text, kind, value):
    assert found(text) == [(kind, value)]


def test_a_signed_token_is_found_whole():
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
    assert found(f"cookie: session={token}; path=/") == [("secret", token)]


def test_of_a_private_key_what_is_between_its_lines_is_found():
    text = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----\n"
    assert found(text) == [("secret", "\nMIIEow\nIBAAK\n")]


@pytest.mark.parametrize(
    "text",
    [
        "order number 12345678",
        "order 415-555-0132",
        '{"order_id": "4155550132"}',
        "order 4111111111111111",  # a check digit is right by chance in one of ten
        "card 4111 1111 1111 1112",
        "tracking 1Z999AA10123456784",
        "case 531-21-7351",
        "000-12-3456 and 666-12-3456 and 912-12-3456",
        "DE89 3704 0044 0532 0130 01",
        "#W4155550 and HAT136 and L-3328",
        "550e8400-e29b-41d4-a716-446655440000",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "call_4155550132abc and call_id 4155550132",
        "2026-11-25T03:58:55.332558+00:00, 1732500000123, 1732500000",
        "call me on 2026-11-25 or 11/25/2026",
        "call me at 10:30:45",
        "version 1.2.3.4, v10.20.30.40, Chrome/119.0.0.0, 3.14159265",
        "127.0.0.1, 0.0.0.0, 255.255.255.0, networks 10.0.0.0/8",
        "std::vector, a::b, 12:30:45, 00:1a:2b:3c:4d:5e, ::1",
        '{"text": "12345678", "max_tokens": 4096, "next_page_token": "CAUQAA1b2c3d4e5f6g7"}',
        "password: required; token: 550e8400-e29b-41d4-a716-446655440000",
        "task-management-for-long-projects, sk-learn-pipelines-with-many-steps",
        "the Smartphone (1507389580), Headphones: 6942297802",
        "[-0.018449828,-0.0072010164,0.003660781]",
        "git@github.com:team/shop.git, @app.route, name@localhost",
        "data:image/png;base64,iVBORw0KGgo4155550132AAA+41555501323/AAAA==",
        "",
    ],
)
def test_it_only_looks_like_it(text):
    assert found(text) == []


@given(st.binary(min_size=30, max_size=300))
def test_base64_stays_as_it_is(data):
    from base64 import b64encode, urlsafe_b64encode

    assert kinds(f"file {b64encode(data).decode()} end") == []
    assert kinds(f"file {urlsafe_b64encode(data).decode()} end") == []


@given(st.binary(min_size=16, max_size=64), st.uuids(), st.datetimes())
def test_hashes_ids_and_times_stay_as_they_are(data, uuid, time):
    assert kinds(f"sha {data.hex()} trace {uuid.hex} id {uuid} at {time.isoformat()}Z") == []


def test_an_address_after_an_escaped_line_break_does_not_take_its_letter():
    assert found(r"Dear team,\nann@work.org wrote") == [("email", "ann@work.org")]


def test_kinds_are_named_once_and_in_one_order():
    text = "415-555-0132, 415-555-0133, ann@work.org, api_key=" + KEY
    assert kinds(text) == ["secret", "email", "phone"]
    assert [kind for kind in KINDS if kind in kinds(text)] == kinds(text)


@given(st.text(alphabet=string.printable + "٣éß\u00a0\ud800", max_size=200))
def test_findings_are_in_order_and_do_not_overlap(text):
    findings = Patterns().find(text)
    ends = [0, *(finding.end for finding in findings)]
    assert all(
        end <= finding.start < finding.end for end, finding in zip(ends, findings, strict=False)
    )


def test_a_long_text_takes_time_in_proportion_to_its_length():
    from time import process_time

    def seconds(n):  # of the processor
        text = "1 2-3.4(5)6 +a@b:c://d@e f::a eyJ sk- key= password: x 4111 " * n
        began = process_time()
        Patterns().find(text)
        return process_time() - began

    few, many = (min(seconds(n) for _ in range(3)) for n in (800, 8_000))
    assert many < 40 * few, "ten times the length; a hundred would be its square"
