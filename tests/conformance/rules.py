"""Rules of authority of one test, and senders that are bound by them."""

from __future__ import annotations

from typing import Any

from invengine.v1 import policy_service_pb2 as policy
from invengine.v1 import types_pb2 as types
from invengine.v1.policy_service_pb2 import AuthorityRule

from . import methods
from .shop import Shop

SET, ADJUST, REPORT, PROMISE, ORDER = (
    types.AUTHORITY_RIGHT_SET,
    types.AUTHORITY_RIGHT_ADJUST,
    types.AUTHORITY_RIGHT_REPORT,
    types.AUTHORITY_RIGHT_PROMISE,
    types.AUTHORITY_RIGHT_ORDER,
)
OF_STOCK = (SET, ADJUST, REPORT)
ON_HAND, DAMAGED = types.STOCK_STATE_ON_HAND, types.STOCK_STATE_DAMAGED


class Rules:
    """Puts rules, which are in force for the whole ledger, and deletes every rule at the end."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    def rule(self, *rights: types.AuthorityRight.ValueType, **fields: Any) -> AuthorityRule:
        """A rule with a new name; for the operator unless its holder is given."""
        if not fields.keys() & {"source_id", "source_kind", "operator"}:
            fields["operator"] = True
        return AuthorityRule(**{"rule": self.shop.name("rule"), "rights": rights, **fields})

    def request(self, *rules: AuthorityRule, key: str | None = None) -> policy.UpsertAuthorityRulesRequest:
        """Asks to put these rules."""
        return policy.UpsertAuthorityRulesRequest(context=self.shop.context(key), authority_rules=rules)

    def put(self, *rules: AuthorityRule) -> list[int]:
        """Puts these rules and returns their versions."""
        return list(self.shop.call(methods.UPSERT_AUTHORITY_RULES, self.request(*rules)).versions)

    def grant(self, *rights: types.AuthorityRight.ValueType, **fields: Any) -> str:
        """Puts one rule and returns its name."""
        rule = self.rule(*rights, **fields)
        self.put(rule)
        return rule.rule

    def read(self, name: str) -> AuthorityRule:
        """A rule as it is now."""
        request = policy.GetAuthorityRuleRequest(rule=name)
        return self.shop.call(methods.GET_AUTHORITY_RULE, request).authority_rule

    def delete(self, *names: str) -> None:
        """Deletes these rules."""
        request = policy.DeleteAuthorityRulesRequest(context=self.shop.context())
        for name in names:
            request.authority_rules.add(name=name)
        self.shop.call(methods.DELETE_AUTHORITY_RULES, request)

    def owners(self, location: str, *, unowned_only: bool = False) -> dict[int, str]:
        """The owner of each state at a location."""
        request = policy.ListOwnersRequest(location=location, unowned_only=unowned_only)
        found = self.shop.call(methods.LIST_OWNERS, request).owners
        assert all(owner.location == location for owner in found)
        return {owner.state: owner.owner for owner in found}

    def end(self) -> None:
        """Deletes every rule, whoever put it."""
        while found := self.shop.call(methods.LIST_AUTHORITY_RULES, policy.ListAuthorityRulesRequest()).authority_rules:
            self.delete(*(rule.rule for rule in found))


class Sender:
    """A registered source, which numbers its messages."""

    def __init__(self, shop: Shop, kind: types.SourceKind.ValueType | None = None, **limits: list[str]) -> None:
        self._shop = shop
        self._place = shop.source()
        if kind is not None:
            shop.profile(self.name, kind, **limits)

    @property
    def name(self) -> str:
        """Its name."""
        return self._place.source_id

    @property
    def last(self) -> types.SourcePosition:
        """Its last message."""
        return types.SourcePosition(source_id=self.name, epoch=self._place.epoch, sequence=self._place.sequence)

    def context(self, key: str | None = None, **fields: str) -> types.CommandContext:
        """Shared fields of its next message, with a new key or this one."""
        self._place.sequence += 1
        found = self._shop.context(key, **fields)
        found.source.CopyFrom(self._place)
        return found
