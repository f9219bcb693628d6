"""What the suites in Python share: cases by name, one line for each, and what they are told of the node under test."""

import json
import os
import sys
import traceback

CASES = []


class Told:
    """What the test that runs this suite knows of the federation."""

    def __init__(self, facts):
        self.base = facts["base"]  # http://127.0.0.1:PORT
        self.model = facts["model"]  # a manager without tools in its chat template
        self.answers = facts["answers"]  # its greedy answers by prompt
        self.tools_model = facts["tools_model"]  # one with
        self.domain_model = facts["domain_model"]  # SLOT:domain
        self.domain_answers = facts["domain_answers"]
        self.missing_model = facts["missing_model"]  # a slot without an artifact
        self.node = facts["node"]  # who holds them
        self.artifact = facts["artifact"]  # of `model`
        self.context = facts["context"]  # tokens of `model`

    @property
    def prompt(self):
        return next(iter(self.answers))

    @property
    def answer(self):
        return self.answers[self.prompt]


TOLD = Told(json.loads(os.environ["FEDNODE_TOLD"]))


def case(function):
    """A case is a function without arguments; its docstring is its name."""
    CASES.append(function)
    return function


def refused(error_type, call, param, status=400):
    """The call must fail with this status and name this field."""
    try:
        call()
    except error_type as error:
        found = getattr(error, "status_code", None)
        assert found == status, f"HTTP {found} instead of {status}: {error}"
        body = getattr(error, "body", None) or {}
        assert param is None or body.get("param") == param, f"it names {body.get('param')!r} instead of {param!r}: {error}"
        return error
    raise AssertionError("it was not refused")


def run(suite):
    """Runs all cases; the exit status says whether all passed."""
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    failed = 0
    for function in CASES:
        name = f"{suite}: {function.__doc__}"
        if only not in name:
            continue
        try:
            function()
            print(f"ok   {name}", flush=True)
        except Exception as error:  # whatever it is, the next case is run
            failed += 1
            print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
            traceback.print_exc()
    print(f"{suite}: {len(CASES) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)
