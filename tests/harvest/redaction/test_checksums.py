"""What a number says about itself, on numbers that others published."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentloop.harvest.redaction.checksums import ACCOUNTS, given_out, iban, luhn

CARDS = [  # what networks and payment services publish for tests
    *("4111111111111111", "4012888888881881", "4222222222222", "5555555555554444"),
    *("5105105105105100", "378282246310005", "371449635398431", "6011111111111117"),
    *("30569309025904", "38520000023237", "3530111333300000", "6200000000000005"),
]
IBANS = [  # examples in SWIFT's registry
    *("AD1200012030200359100100", "AT611904300234573201", "BE68539007547034"),
    *("CH9300762011623852957", "CZ6508000000192000145399", "DE89370400440532013000"),
    *("DK5000400440116243", "ES9121000418450200051332", "FI2112345600000785"),
    *("FR1420041010050500013M02606", "GB29NWBK60161331926819", "GR1601101250000000012300695"),
    *("HU42117730161111101800000000", "IE29AIBK93115212345678", "IT60X0542811101000000123456"),
    *("LU280019400644750000", "MT84MALT011000012345MTLCAST001S", "NL91ABNA0417164300"),
    *("NO9386011117947", "PL61109010140000071219812874", "PT50000201231234567890154"),
    *("SA0380000000608010167519", "SE4550000000058398257466", "TR330006100519786457841326"),
    *("BR9700360305000010009795493P1", "MU17BOMM0101101030300200000MUR"),
]


@pytest.mark.parametrize("number", CARDS)
def test_a_card_of_a_network_is_right_and_with_any_other_last_digit_wrong(number):
    assert [luhn(f"{number[:-1]}{d}") for d in range(10)].count(True) == 1
    assert luhn(number)


@given(st.text("0123456789", min_size=1, max_size=18))
def test_every_number_has_exactly_one_check_digit(number):
    assert sum(luhn(number + digit) for digit in "0123456789") == 1


@given(st.text("0123456789", min_size=2, max_size=18), st.data())
def test_one_wrong_digit_is_noticed(number, data):
    right = next(number + digit for digit in "0123456789" if luhn(number + digit))
    at = data.draw(st.integers(0, len(right) - 1))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != right[at]]))
    assert not luhn(right[:at] + other + right[at + 1 :])


def test_nothing_is_no_number():
    assert not luhn("")
    assert not iban("")


@pytest.mark.parametrize("number", IBANS)
def test_a_published_account_is_right_however_it_is_written(number):
    assert iban(number)
    assert iban(" ".join(re.findall(".{1,4}", number)))
    assert iban("-".join(re.findall(".{1,4}", number)))


@pytest.mark.parametrize("number", IBANS)
def test_an_account_that_is_too_short_or_somewhere_else_is_none(number):
    assert not iban(number[:-1])
    assert not iban(f"{number}0")
    assert not iban(f"XX{number[2:]}")


@given(st.sampled_from(IBANS), st.data())
def test_one_wrong_digit_of_an_account_is_noticed(number, data):
    at = data.draw(st.sampled_from([n for n, c in enumerate(number) if c.isdigit()]))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != number[at]]))
    assert not iban(number[:at] + other + number[at + 1 :])


@given(st.sampled_from(sorted(ACCOUNTS)), st.data())
def test_any_account_of_a_country_has_check_digits(country, data):
    """For what a country's structure allows, one pair of digits from 02 to 98 is right."""
    kinds = {"n": "0123456789", "a": "ABCXYZ", "c": "0123456789ABCXYZ"}
    parts = re.findall(r"([0-9]+)([nac])", ACCOUNTS[country])
    account = "".join(
        data.draw(st.text(kinds[kind], min_size=int(n), max_size=int(n))) for n, kind in parts
    )
    right = [d for d in range(2, 99) if iban(f"{country}{d:02}{account}")]
    assert len(right) == 1


def test_the_structure_of_a_country_counts_and_not_the_check_digits_alone():
    """Germany has digits only: letters there make an account of none, whatever they sum up to."""
    assert not any(iban(f"DE{d:02}37040044053201300A") for d in range(100))


@pytest.mark.parametrize(
    "number", ["000121234", "666121234", "900121234", "999121234", "123001234", "123120000"]
)
def test_areas_groups_and_serials_that_are_never_given_out(number):
    assert not given_out(number)


@given(st.integers(1, 899).filter(lambda n: n != 666), st.integers(1, 99), st.integers(1, 9999))
def test_all_others_may_be_given_out_but_the_three_that_were_printed(area, group, serial):
    number = f"{area:03}{group:02}{serial:04}"
    assert given_out(number) is (number not in ("078051120", "219099999", "457555462"))
