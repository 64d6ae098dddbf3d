//! Commands on holds.

use invengine_ledger::Context;
use invengine_ledger::command::Body;
use invengine_wire::v1;

use super::answer::Accepted;
use super::check::Violations;
use super::command::{CommandRequest, shared_fields};
use super::context::ttl;
use super::lines::{amended, requested};
use super::target::{TargetRules, target};

/// The rules of a command that may act on whatever is named.
pub(super) const ANY: TargetRules = TargetRules { order: true, lines: true };

/// Checks that a Reserve that replaces somebody's holds says whose.
#[inline]
pub(super) fn check_holder(replace_own: bool, context: &Context<'_>, found: &mut Violations) {
    let somebody = !replace_own || !context.holder.is_empty();
    found.require(somebody, format_args!("context.holder"), "replace_own needs to know whose holds give way");
}

impl CommandRequest for v1::ReserveRequest {
    type Answer = v1::ReserveResponse;

    shared_fields!();

    fn body<'a>(&'a self, context: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        check_holder(self.replace_own, context, found);
        Body::Reserve {
            lines: requested(&self.lines, found),
            ttl_ms: ttl(self.ttl, found),
            allow_partial: self.allow_partial,
            replace_own: self.replace_own,
        }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::ReserveResponse {
        v1::ReserveResponse { receipt: accepted.receipt(), hold: accepted.holds().0.pop() }
    }
}

impl CommandRequest for v1::ExtendRequest {
    type Answer = v1::ExtendResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a> {
        let allowed = TargetRules { lines: false, ..ANY };
        Body::Extend { target: target(self.target.as_ref(), allowed, tag, found), ttl_ms: ttl(self.ttl, found) }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::ExtendResponse {
        let (holds, summary) = accepted.holds();
        v1::ExtendResponse { receipt: accepted.receipt(), holds, summary }
    }
}

impl CommandRequest for v1::AmendRequest {
    type Answer = v1::AmendResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a> {
        let target = target(self.target.as_ref(), TargetRules::default(), tag, found);
        Body::Amend { target, lines: amended(&self.lines, found) }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::AmendResponse {
        let (holds, summary) = accepted.holds();
        v1::AmendResponse { receipt: accepted.receipt(), holds, summary }
    }
}

impl CommandRequest for v1::AllocateRequest {
    type Answer = v1::AllocateResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a> {
        Body::Allocate(target(self.target.as_ref(), ANY, tag, found))
    }

    fn answer(accepted: &Accepted<'_>) -> v1::AllocateResponse {
        let (holds, summary) = accepted.holds();
        v1::AllocateResponse { receipt: accepted.receipt(), holds, summary }
    }
}

impl CommandRequest for v1::ReleaseRequest {
    type Answer = v1::ReleaseResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a> {
        Body::Release(target(self.target.as_ref(), ANY, tag, found))
    }

    fn answer(accepted: &Accepted<'_>) -> v1::ReleaseResponse {
        let (holds, summary) = accepted.holds();
        let (key_cancelled, key_scope) = accepted.cancelled();
        v1::ReleaseResponse { receipt: accepted.receipt(), holds, key_cancelled, summary, key_scope }
    }
}

impl CommandRequest for v1::FulfillRequest {
    type Answer = v1::FulfillResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a> {
        Body::Fulfill(target(self.target.as_ref(), ANY, tag, found))
    }

    fn answer(accepted: &Accepted<'_>) -> v1::FulfillResponse {
        let (holds, summary) = accepted.holds();
        v1::FulfillResponse { receipt: accepted.receipt(), holds, summary }
    }
}

impl CommandRequest for v1::TransferReservationRequest {
    type Answer = v1::TransferReservationResponse;

    shared_fields!();

    fn body<'a>(&'a self, _: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a> {
        let target = target(self.target.as_ref(), TargetRules { order: false, ..ANY }, tag, found);
        found.name(&self.to_location, format_args!("to_location"));
        Body::Transfer { target, to_location: &self.to_location }
    }

    fn answer(accepted: &Accepted<'_>) -> v1::TransferReservationResponse {
        let (holds, summary) = accepted.holds();
        v1::TransferReservationResponse { receipt: accepted.receipt(), holds, summary }
    }
}
