"""The `claims` parameter: which claims are asked for, where, and with which values (OIDC Core section 5.5)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from idp_kit.jwks import parse_object

from idp import policy
from idp.protocol.errors import InvalidRequest
from idp.protocol.subjects import SCOPE_CLAIMS

Demand = dict[str, Any]
"""What is asked of one claim: `essential`, `value`, `values`, each only where it was given."""

ASKABLE = {name: scope for scope in ("profile", "email", "address", "phone") for name in SCOPE_CLAIMS[scope]}
"""The claims about a person that can be asked for by name, each with the scope that a client must be registered for
to have it. Those of scope `rfc` are given for that scope alone (T-4)."""

_ABOUT_AUTHENTICATION = frozenset({"sub", "acr", "auth_time"})
_MEMBERS = ("userinfo", "id_token")


@dataclass(frozen=True, slots=True)
class ClaimsRequest:
    """A well-formed request. "Any members used that are not understood MUST be ignored": they were left out."""

    userinfo: Mapping[str, Demand | None] = field(default_factory=dict)
    id_token: Mapping[str, Demand | None] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "ClaimsRequest":
        """Read the parameter; `InvalidRequest` where it is malformed."""
        try:
            members = parse_object(text.encode("utf-8", "strict"))
        except ValueError as error:
            raise InvalidRequest("The claims parameter is not a JSON object.") from error
        return cls(**{name: _read_member(members.get(name)) for name in _MEMBERS})

    def to_json(self) -> dict[str, Any]:
        return {"userinfo": dict(self.userinfo), "id_token": dict(self.id_token)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ClaimsRequest":
        return cls(**{name: dict(value.get(name) or {}) for name in _MEMBERS})

    def within(self, names: Collection[str]) -> "ClaimsRequest":
        """The same without the claims about a person that are not among `names`."""
        return ClaimsRequest(
            **{
                member: {
                    name: demand
                    for name, demand in getattr(self, member).items()
                    if name in _ABOUT_AUTHENTICATION or name in names
                }
                for member in _MEMBERS
            }
        )

    @property
    def personal(self) -> tuple[str, ...]:
        """The claims about a person that are asked for, wherever, in the order of `ASKABLE`."""
        return tuple(name for name in ASKABLE if name in self.userinfo or name in self.id_token)

    @property
    def sub(self) -> str | None:
        """The one person that is asked for (OIDC Core section 5.5.1)."""
        for member in (self.id_token, self.userinfo):
            value = (member.get("sub") or {}).get("value")
            if value is not None:
                return str(value)
        return None

    @property
    def essential_acr(self) -> tuple[str, ...]:
        """The authentication contexts one of which must be reached; empty where any will do (section 5.5.1.1)."""
        demand = self.id_token.get("acr") or {}
        if not demand.get("essential"):
            return ()
        return tuple(demand.get("values") or [demand[name] for name in ("value",) if name in demand])


def _read_member(member: Any) -> dict[str, Demand | None]:
    if member is None:
        return {}
    if not isinstance(member, dict) or len(member) > policy.SCOPE_COUNT_MAX:
        raise InvalidRequest("The claims parameter has a member that is no object, or too large.")
    return {
        name: demand
        for name, demand in ((name, _read_demand(value)) for name, value in member.items())
        if name in ASKABLE or name in _ABOUT_AUTHENTICATION
    }


def _read_demand(value: Any) -> Demand | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidRequest("A claim is asked for by null or by an object.")
    essential, values = value.get("essential", False), value.get("values", [])
    if not isinstance(essential, bool) or not isinstance(values, list):
        raise InvalidRequest("A claim is asked for with a wrong type of essential or values.")
    demand: Demand = {"essential": True} if essential else {}
    # Of another type than text it can match nothing that we compare.
    if isinstance(value.get("value"), str):
        demand["value"] = value["value"]
    texts = [each for each in values if isinstance(each, str)]
    if texts:
        demand["values"] = texts
    return demand
