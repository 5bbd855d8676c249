import adamp

from stepgauge import ExpectedFailure, conformance_checks

views = ExpectedFailure("it takes views", link="https://example.org/issues/7", expires="1.0")
expected = {
    "contract/resume-in-another-format": views,
    "contract/transposed-parameter": views,
    "contract/transposed-gradient": views,
    "contract/channels-last": views,
    "convention/empty-parameter": "a view again",
}


@conformance_checks(adamp.AdamP, rule="adamp", expected_failures=expected)
def test_adamp(check):
    check()
