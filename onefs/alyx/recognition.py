"""Whether an Alyx answers at an address, found out without a login."""

import requests

from onefs.alyx import fields, refusals
from onefs.alyx.sending import Question, Sender
from onefs.alyx.waiting import Clock
from onefs.errors import AccessRefusedError
from onefs.outages import Outages

LOGIN = "auth-token"


def is_alyx(
    base_url: str, *, connect_timeout_s: float, read_timeout_s: float, retry_max_s: float, proxy: str = ""
) -> bool:
    """Whether what answers takes logins as Alyx does: where tokens are given out, a GET is refused in JSON.

    Raises `UnreachableError` or `TimedOutError` without an answer, `AccessRefusedError` if something before the
    server wants a login of its own, `BrokenAnswerError` if it sends its callers elsewhere.
    """
    host = refusals.server_name(base_url)
    sender = Sender(
        host,
        connect_timeout_s=connect_timeout_s,
        read_timeout_s=read_timeout_s,
        retry_max_s=retry_max_s,
        proxy=proxy,
        clock=Clock(),
        outages=Outages(),
        server=host,
    )
    try:
        with sender.answer(Question("GET", f"{base_url}/{LOGIN}", LOGIN, stream=True)) as answer:
            if answer.status_code == requests.codes.unauthorized:
                raise AccessRefusedError(
                    f"{host} answered 401 Unauthorized.",
                    "If it is a folder of tables, give its login with --data-user and --data-password-file.",
                )
            if answer.status_code in refusals.GATEWAY:
                raise refusals.refusal(answer, host, LOGIN, ())
            return answer.status_code == requests.codes.not_allowed and _tells_why(answer)
    finally:
        sender.close()


def _tells_why(answer: requests.Response) -> bool:
    try:
        content = fields.parsed(answer.content)
    except ValueError:
        return False
    return isinstance(content, dict) and "detail" in content and "POST" in answer.headers.get("Allow", "")
