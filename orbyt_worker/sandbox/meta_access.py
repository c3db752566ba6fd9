"""Who may call what on Meta's hosts: tokens, proofs, scopes, tasks, usage and throttling.

After Meta "Access Tokens", "Login Security" (appsecret_proof), "Rate Limits" and "Handle Errors". A `Call` is one request,
read completely; handlers get it after `identify` accepted the token.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from orbyt_worker.sandbox.meta_errors import (
    GraphError,
    bad_parameter,
    dead_token,
    graph_error,
    unparsable_token,
    unreadable,
)
from orbyt_worker.sandbox.meta_model import (
    CREATE_TASKS,
    VERSIONS,
    Host,
    Node,
    Page,
    Token,
    UsageScope,
    UsageState,
    UseCase,
)

if TYPE_CHECKING:
    from orbyt_worker.sandbox.meta import Meta

REGAIN_MINUTES = 30


@dataclass(frozen=True, slots=True)
class FilePart:
    """One file of a multipart body."""

    field_name: str
    file_name: str | None
    content_type: str
    data: bytes = field(repr=False)


@dataclass(slots=True)
class Call:
    """One request to a Graph host. `fields` holds query and body together, the body wins."""

    meta: Meta
    request: Request
    method: str
    host: Host
    version: str
    node_id: str
    edge: str
    node: Node | None
    fields: dict[str, str] = field(repr=False)
    files: dict[str, FilePart] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)  # of requests that send a file as their whole body
    leaf: str = ""  # /{user}/permissions/{permission}
    _token: Token | None = field(default=None, repr=False)

    @property
    def token(self) -> Token:
        """The accepted token; only after `identify`."""
        assert self._token is not None
        return self._token

    # --- parameters ---------------------------------------------------------------------------------------------

    def text(self, name: str) -> str | None:
        """A parameter that is there and not empty."""
        return self.fields.get(name) or None

    def need(self, name: str) -> str:
        """A parameter, or code 100."""
        value = self.text(name)
        if value is None:
            raise bad_parameter(f"The parameter {name} is required.")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """A boolean as Graph reads it."""
        value = self.fields.get(name)
        if value is None or value == "":
            return default
        if value.lower() not in {"true", "false", "1", "0"}:
            raise bad_parameter(f"Param {name} must be a boolean.")
        return value.lower() in {"true", "1"}

    def whole(self, name: str) -> int | None:
        """A whole number that is not negative, or code 100."""
        value = self.text(name)
        if value is None:
            return None
        if not value.isdecimal() or not value.isascii():
            raise bad_parameter(f"Param {name} must be an integer.")
        return int(value)

    def structure(self, name: str) -> Any:
        """A parameter holding JSON, or code 100; None when it is missing."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return json.loads(value)
        except ValueError:
            raise bad_parameter(f"Param {name} must be valid JSON.") from None

    def asked(self, known: set[str], default: set[str], kind: str) -> set[str]:
        """The names in `fields`; code 100 for one the object does not have."""
        value = self.text("fields")
        if value is None:
            return default
        names = {name.split("{")[0].split(".")[0].strip() for name in split_fields(value)}
        for name in sorted(names - known):
            raise bad_parameter(f"Tried accessing nonexisting field ({name}) on node type ({kind})")
        return names | {"id"}

    # --- permissions --------------------------------------------------------------------------------------------

    def require(self, *scopes: str) -> None:
        """200 (or 10) unless the token carries all scopes.

        Instagram's permissions lapse with the person's data access; those for Pages are exempt.
        """
        until = self.token.data_access_expires_at
        lapsed = self.token.login == "facebook" and until is not None and self.meta.now() >= until
        for scope in scopes:
            if scope not in self.token.scopes or (lapsed and scope.startswith("instagram_")):
                raise self.missing(f"Requires {scope} permission to manage the object.")

    def missing(self, message: str) -> GraphError:
        """The error of a permission that is not there."""
        return graph_error(self.meta.config.missing_permission_code, message)

    def page(self, *, write: bool) -> Page:
        """The Page of the path for its own Page token; a user token of a manager may only read."""
        page = self.meta.pages.get(self.node_id)
        if page is None:
            raise unreadable(self.node_id, self.method)
        return self.as_page(page, write=write)

    def as_page(self, page: Page, *, write: bool) -> Page:
        """The same for a Page that is known by one of its objects."""
        token = self.token
        if token.kind == "PAGE" and token.page_id != page.page_id:
            if self.meta.config.foreign_page_code == 200:
                raise graph_error(200, "The token belongs to another Page.")
            raise unreadable(self.node_id, self.method)
        tasks = page.roles.get(token.user_id or "")
        if tasks is None:
            raise unreadable(self.node_id, self.method)
        if not token.shared.has_page(page.page_id):
            raise self.missing("The person does not share this Page with the app.")
        if write:
            if token.kind != "PAGE":
                raise graph_error(210, "A page access token is required to request this resource.")
            if not CREATE_TASKS & set(tasks):
                raise graph_error(200, "The user does not have the CREATE_CONTENT task on this Page.")
        return page


def split_fields(value: str) -> list[str]:
    """Top-level names of a `fields` parameter; sub-selections stay with their name."""
    names, depth, start = [], 0, 0
    for at, sign in enumerate(value):
        depth += (sign in "{(") - (sign in "})")
        if sign == "," and depth == 0:
            names.append(value[start:at])
            start = at + 1
    names.append(value[start:])
    return [name for name in names if name.strip()]


def presented_token(request: Request, fields: dict[str, str]) -> str | None:
    """The token a request carries: the Authorization header (Bearer or OAuth) or the parameter."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() in {"bearer", "oauth"} and value.strip():
        return value.strip()
    return fields.get("access_token") or None


def check_version(meta: Meta, version: str) -> None:
    """Code 2500 for a version that never was or is no more."""
    if version not in VERSIONS:
        raise graph_error(2500, f"Unknown path components: /{version}")
    until = VERSIONS[version]
    if until is not None and meta.sandbox.clock.now().date() > until:
        raise graph_error(2500, f"Version {version} of the Graph API is no longer available.")


def identify(meta: Meta, host: Host, value: str | None) -> Token:
    """The token behind a value, or 104 / 190 with the subcode of what happened to it."""
    if value is None:
        raise graph_error(104, "An access token is required to request this resource.")
    token = meta.find_token(value)
    if token is None or (host == "instagram") != (token.login == "instagram"):
        raise unparsable_token()
    state = token.state_at(meta.sandbox.clock.now())
    if state != "valid":
        raise dead_token(state)
    return token


def check_proof(meta: Meta, call: Call, token: Token) -> None:
    """`appsecret_proof`, plain or time-stamped; wrong is always wrong, missing only when the app requires it.

    Only on graph.facebook.com and graph-video.facebook.com: whether the other hosts look at it is not known.
    """
    if token.kind == "APP" or call.host not in {"graph", "video"}:
        return
    proof, stamp = call.text("appsecret_proof"), call.text("appsecret_time")
    if proof is None:
        if meta.config.require_proof:
            raise _proof_error("API calls from the server require an appsecret_proof argument")
        return
    signed = token.value
    if stamp is not None:
        if not stamp.isdecimal():
            raise _proof_error("Invalid appsecret_time provided in the API argument")
        if abs(meta.sandbox.clock.timestamp() - int(stamp)) > meta.config.proof_seconds_max:
            raise _proof_error("The appsecret_proof provided in the API argument has expired")
        signed = f"{token.value}|{stamp}"
    expected = hmac.new(meta.app.secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, proof):
        raise _proof_error("Invalid appsecret_proof provided in the API argument")


def _proof_error(message: str) -> GraphError:
    return graph_error(100, message, kind="GraphMethodException")


# --- usage and throttling -----------------------------------------------------------------------------------------

THROTTLE_CODES: dict[UsageScope, int] = {"app": 4, "user": 17, "page": 32, "pages": 80001, "instagram": 80002}


def usage_target(call: Call) -> tuple[UseCase, str] | None:
    """(use case, id) whose business use case limit a call counts against."""
    if call.node is not None and call.node.use_case is not None and call.node.owner is not None:
        return call.node.use_case, call.node.owner
    token = call._token
    if token is not None and token.kind == "PAGE" and token.page_id is not None:
        return "pages", token.page_id
    if token is not None and token.instagram_id is not None:
        return "instagram", token.instagram_id
    return None


def check_throttle(meta: Meta, call: Call) -> None:
    """Refuse when a counter that covers the call stands at 100; the refused call extends the block."""
    scopes: list[tuple[UsageScope, str]] = [("app", "")]
    if call.token.user_id is not None and call.token.kind in {"USER", "SYSTEM_USER"}:
        scopes.append(("user", call.token.user_id))
    target = usage_target(call)
    if target is not None:
        scopes.append(target)
        if target[0] == "pages":
            scopes.append(("page", target[1]))
    now = meta.sandbox.clock.now()
    for scope, owner in scopes:
        usage = meta.usage_of(scope, owner)
        if usage is None:
            continue
        if usage.blocked_until is not None and now >= usage.blocked_until:
            meta.clear_usage(scope, owner)
            continue
        if usage.highest >= 100:
            if usage.blocked_until is None or meta.config.extend_blocks:
                usage.blocked_until = now + timedelta(minutes=usage.regain_minutes)
            raise throttle_error(THROTTLE_CODES[scope])


def throttle_error(code: int) -> GraphError:
    """The answer of a limit, by its code."""
    text = {
        4: "Application request limit reached",
        17: "User request limit reached",
        32: "Page request limit reached",
        80001: "There have been too many calls to this Page account. Wait a bit and try again.",
        80002: "There have been too many calls to this Instagram account. Wait a bit and try again.",
    }.get(code, "Calls to this api have exceeded the rate limit.")
    return graph_error(code, text, transient=True)


def usage_headers(meta: Meta, call: Call) -> dict[str, str]:
    """X-App-Usage, X-Page-Usage and X-Business-Use-Case-Usage as they stand."""
    if not meta.config.usage_headers:
        return {}
    app = meta.usage_of("app", "") or UsageState()
    headers = {"X-App-Usage": json.dumps(_percentages(app))}
    if call.host == "instagram" and meta.config.instagram_usage_names:
        headers["X-App-Usage"] = json.dumps({"call_volume": app.call_count, "cpu_time": app.total_cputime})
    target = usage_target(call)
    if target is not None:
        use_case, owner = target
        usage = meta.usage_of(use_case, owner) or UsageState()
        entry = {"type": use_case, **_percentages(usage), "estimated_time_to_regain_access": _minutes_left(meta, usage)}
        headers["X-Business-Use-Case-Usage"] = json.dumps({owner: [entry]})
        if use_case == "pages":
            headers["X-Page-Usage"] = json.dumps(_percentages(meta.usage_of("page", owner) or UsageState()))
    return headers


def fault_throttle_headers(call: Call, code: int, minutes: int) -> dict[str, str]:
    """Usage headers of a `throttle` fault: the counter its code is about stands at 100."""
    full = UsageState(100, 25, 25, minutes)
    if code == 4:
        return {"X-App-Usage": json.dumps(_percentages(full))}
    target = usage_target(call)
    if code == 32:
        return {"X-Page-Usage": json.dumps(_percentages(full))}
    if target is None:
        return {}
    use_case = "instagram" if code == 80002 else target[0]
    entry = {"type": use_case, **_percentages(full), "estimated_time_to_regain_access": minutes}
    return {"X-Business-Use-Case-Usage": json.dumps({target[1]: [entry]})}


def _percentages(usage: UsageState) -> dict[str, int]:
    return {"call_count": usage.call_count, "total_cputime": usage.total_cputime, "total_time": usage.total_time}


def _minutes_left(meta: Meta, usage: UsageState) -> int:
    if usage.highest < 100:
        return 0
    if usage.blocked_until is None:
        return usage.regain_minutes
    left = (usage.blocked_until - meta.sandbox.clock.now()).total_seconds()
    return max(0, -int(-left // 60))
