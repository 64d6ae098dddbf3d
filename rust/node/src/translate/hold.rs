//! Commands on holds.

use invengine_ledger::Context;
use invengine_ledger::command::Body;
use invengine_wire::v1;

use super::check::Violations;
use super::command::CommandRequest;
use super::context::ttl;
use super::lines::{amended, requested};
use super::target::{TargetRules, target};

const ANY: TargetRules = TargetRules { order: true, lines: true };

impl CommandRequest for v1::ReserveRequest {
    fn body<'a>(&'a self, context: &Context<'a>, _: u64, found: &mut Violations) -> Body<'a> {
        let somebody = !self.replace_own || !context.holder.is_empty();
        found.require(somebody, format_args!("context.holder"), "replace_own needs to know whose holds give way");
        Body::Reserve {
            lines: requested(&self.lines, found),
            ttl_ms: ttl(self.ttl.as_ref(), found),
            allow_partial: self.allow_partial,
            replace_own: self.replace_own,
        }
    }
}

impl CommandRequest for v1::ExtendRequest {
    fn body<'a>(&'a self, _: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a> {
        let allowed = TargetRules { lines: false, ..ANY };
        Body::Extend {
            target: target(self.target.as_ref(), allowed, tag, found),
            ttl_ms: ttl(self.ttl.as_ref(), found),
        }
    }
}

impl CommandRequest for v1::AmendRequest {
    fn body<'a>(&'a self, _: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a> {
        let target = target(self.target.as_ref(), TargetRules::default(), tag, found);
        Body::Amend { target, lines: amended(&self.lines, found) }
    }
}

impl CommandRequest for v1::AllocateRequest {
    fn body<'a>(&'a self, _: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a> {
        Body::Allocate(target(self.target.as_ref(), ANY, tag, found))
    }
}

impl CommandRequest for v1::ReleaseRequest {
    fn body<'a>(&'a self, _: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a> {
        Body::Release(target(self.target.as_ref(), ANY, tag, found))
    }
}

impl CommandRequest for v1::FulfillRequest {
    fn body<'a>(&'a self, _: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a> {
        Body::Fulfill(target(self.target.as_ref(), ANY, tag, found))
    }
}

impl CommandRequest for v1::TransferReservationRequest {
    fn body<'a>(&'a self, _: &Context<'a>, tag: u64, found: &mut Violations) -> Body<'a> {
        let target = target(self.target.as_ref(), TargetRules { order: false, ..ANY }, tag, found);
        found.name(&self.to_location, format_args!("to_location"));
        Body::Transfer { target, to_location: &self.to_location }
    }
}
