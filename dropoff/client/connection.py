"""The one way from a client to its broker: JSON over HTTP, and what to do when no answer comes.

Every call carries a request key, made here unless the caller brings one. So a call whose answer was lost is simply made
again, with the same key, until the patience ends: the broker does it once and answers the same. What has no key (an
operator's act, by `post`) is sent again only where it certainly did not arrive; a read always.

A refusal comes out as `RemoteError`, silence as `BrokerUnreachable`.
"""

import asyncio
import os
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

import httpx2
import msgspec

from dropoff.client import credentials
from dropoff.client.failures import BrokerUnreachable, CredentialUnusable, RemoteError, as_object, said
from dropoff.core import places

PATIENCE_S: Final = 5.0  # a broker that restarts is back within two or three
ANSWER_S: Final = 30.0  # beside what a call waits for: the broker itself gives its store 10 s, twice
NOTHING_DONE: Final = b"Nothing of this call was stored"  # what an answer says that is sure of it
PAUSE_S: Final = 0.05
PAUSE_S_MAX: Final = 1.0

NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
GATEWAY: Final = frozenset({502, 503, 504})  # 503 is the broker without its store, or a balancer without a broker

Again = Literal["always", "unsent", "read"]  # a read may be sent as often as one likes, and leaves no doubt


def connection(
    url: str = "",
    *,
    bearer: str = "",
    credential_file: str | Path = "",
    data: str | Path = "",
    environ: Mapping[str, str] = os.environ,
    patience_s: float = PATIENCE_S,
) -> "Connection":
    """A connection to the broker at `url`, or at DROPOFF_URL, or on this machine at the usual port.

    Nothing is sent yet. Raises `CredentialUnusable` for a credential that is no use, or has no safe way there.
    """
    url = (url or environ.get("DROPOFF_URL", "") or f"http://127.0.0.1:{places.PORT}").rstrip("/")
    _require_url(url)
    secret, where = credentials.found(url, bearer=bearer, credential_file=credential_file, data=data, environ=environ)
    return Connection(url, secret, missing=where, patience_s=patience_s)


def _require_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BrokerUnreachable(url=url[:200], why="that is no URL; http://HOST:PORT is expected")


class Connection:
    """Open until `close`, or as long as `async with` lasts. May be used by many tasks at once."""

    def __init__(self, url: str, bearer: str, *, missing: str = "", patience_s: float = PATIENCE_S) -> None:
        self.url: Final = url
        self._missing = missing  # where a credential was looked for, when there is none
        self._patience_s = patience_s
        self._has_credential = bool(bearer)
        self._http = httpx2.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {bearer}"} if bearer else {},
            follow_redirects=False,  # a credential goes where it was meant to go
            trust_env=not credentials.is_loopback(url),  # a proxy for the way out is none for this machine
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),  # who waits holds a connection
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def call(self, verb: str, arguments: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """One of the agents' verbs: `call("drop_off", {...})`. Done once, however often it has to be sent."""
        headers = {"idempotency-key": key or secrets.token_urlsafe(16)}
        return await self._answered(
            "POST", f"/v1/{verb}", dict(arguments), headers, "always", ANSWER_S + _waits_s(arguments)
        )

    async def batch(self, calls: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Many calls in one request, `{"verb": …, "arguments": {…}}` each: settled first, then dropped off, then picked
        up. The answers stand in the order of the calls; one that was refused has status `refused`, and raises nothing.

        Each call is done once, however often all have to be sent: it gets a key of its own, or brings one as `key`.
        """
        keyed: list[dict[str, Any]] = [{"key": secrets.token_urlsafe(16)} | dict(call) for call in calls]
        longest_s = max((_waits_s(call.get("arguments") or {}) for call in keyed), default=0)
        timeout_s = ANSWER_S + 2 * longest_s  # a check waits before a pick_up does
        answer = await self._answered("POST", "/v1/batch", {"calls": keyed}, {}, "always", timeout_s)
        return answer["answers"]

    async def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        """A read; what is None is not asked."""
        params = {name: str(value) for name, value in query.items() if value is not None}
        return await self._answered("GET", str(httpx2.URL(path, params=params)), None, {}, "read", ANSWER_S)

    async def post(self, path: str, body: Mapping[str, Any], answer_s: float = ANSWER_S) -> dict[str, Any]:
        """An operator's act. Sent again only where it certainly did not arrive: a new agent's bearer is shown once."""
        return await self._answered("POST", path, dict(body), {}, "unsent", answer_s)

    # ---- answers ------------------------------------------------------------------------------------------------

    async def _answered(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        headers: dict[str, str],
        again: Again,
        timeout_s: float,
    ) -> dict[str, Any]:
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            headers = {**headers, "content-type": "application/json"}

        async def send() -> httpx2.Response:
            return await self._http.request(method, path, content=content, headers=headers, timeout=timeout_s)

        answer = await self._patiently(send, again)
        fields = as_object(answer.content)
        if answer.status_code == 200 and fields is not None:
            return fields
        raise self._refusal(answer, again)

    def _refusal(self, answer: httpx2.Response, again: Again) -> Exception:
        heard = said(answer.content)
        if heard is None:
            kind = answer.headers.get("content-type", "nothing")
            why = f"it answered {answer.status_code} with {kind}, which no broker does"
            return BrokerUnreachable(url=self.url, why=why, sent=True, read=again == "read")
        if heard.code == "unauthenticated" and not self._has_credential:
            return CredentialUnusable(
                f"There is no credential for {self.url}. Looked at: {self._missing}. "
                "On the broker's machine, `dropoff up` makes one; elsewhere set DROPOFF_CREDENTIAL_FILE."
            )
        return RemoteError(heard)

    async def _patiently(self, send: Callable[[], Awaitable[httpx2.Response]], again: Again) -> httpx2.Response:
        """The first answer that is one; the last one that is none, when the patience is over."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._patience_s
        pause_s, sent, doubt = PAUSE_S, False, False
        while True:
            answer, failure = None, None
            doubt = doubt or (sent and again != "read")  # an earlier try may have done it, whatever this one hears
            try:
                answer = await send()
            except httpx2.TransportError as error:
                failure = error
                sent = sent or not isinstance(error, NOT_SENT)
            if answer is not None and (answer.status_code not in GATEWAY or again == "unsent"):
                return answer
            over = loop.time() + pause_s > ends or (again == "unsent" and sent)
            if over and answer is not None and not doubt:
                return answer
            if over:
                why = _why(failure) if answer is None else f"it answers {answer.status_code}"
                raise BrokerUnreachable(url=self.url, why=why, sent=sent or doubt, read=again == "read") from failure
            if answer is not None and again != "read":
                doubt = doubt or NOTHING_DONE not in answer.content
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, PAUSE_S_MAX)


def _waits_s(arguments: Mapping[str, Any]) -> float:
    """How long a call may wait before it is answered; the broker's own default is 3 s."""
    waits = arguments.get("wait_seconds")
    return waits if isinstance(waits, (int, float)) else 3


def _why(failure: Exception | None) -> str:
    """In words; httpx2 says nothing for some of its errors."""
    words: dict[type[Exception], str] = {
        httpx2.ConnectTimeout: "no connection in time",
        httpx2.ReadTimeout: "no answer in time",
        httpx2.RemoteProtocolError: "the connection was cut",
        httpx2.ReadError: "the connection was cut",
    }
    return "no answer" if failure is None else words.get(type(failure)) or str(failure) or type(failure).__name__
