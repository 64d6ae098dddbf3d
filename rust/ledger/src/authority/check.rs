//! Whether a command's writer may do what it asks for. Names come first: a command on stock or a hold with an unknown one is left
//! to its decision, which refuses it.

use hashbrown::{HashMap, HashSet};

use super::claims::{ClaimKey, ClaimReason};
use super::rule::{AuthorityRule, Place, Right};
use super::table::{Cell, Writer, rule_of};
use crate::command::{Body, Command, Line, MoveLine, SourcePosition, StockLine, Target, TargetBy};
use crate::entity::{EntityKind, EntityValue, SourceProfile};
use crate::event::{Event, StockKind};
use crate::ids::Handle;
use crate::keys::Scope;
use crate::ledger::Ledger;
use crate::one_or_many::OneOrMany;
use crate::outcome::Effect;
use crate::planted;
use crate::record::Origin;
use crate::rejection::{Reason, Rejection};
use crate::source::AppliedMessage;
use crate::states::StockState;
use crate::stock_transfer::{Arrival, Remainder, TransferCommand};

/// For each line of a command that states quantities, why it is only a claim; empty if every line takes effect.
pub(crate) type ClaimedLines = Vec<Option<ClaimReason>>;

/// A state at a location that a command is about.
type Touched = (StockState, Handle);

impl Ledger {
    /// Whether nothing limits what a command may do: there are no rules, and no profile for its source.
    #[inline]
    pub(crate) fn has_no_limits(&self, origin: &Origin<'_>) -> bool {
        let is_free = self.never_had_rules() && (origin.source.is_none() || !self.has_profiles());
        is_free || planted::is("authority_skipped")
    }

    fn has_profiles(&self) -> bool {
        !self.entities(EntityKind::SourceProfiles).names().is_empty()
    }

    /// What of a command is only a claim. A command whose writer lacks a right is refused, unless it states quantities.
    #[cold]
    pub(crate) fn check_authority(
        &self,
        command: &Command<'_>,
        origin: &Origin<'_>,
    ) -> Result<ClaimedLines, Rejection> {
        let writer = self.writer(origin.source);
        let profile = writer.source.and_then(|source| self.profile_of(source));
        if profile.is_none() && self.authority_table().is_none() {
            return Ok(ClaimedLines::new());
        }
        let Some(touched) = self.touched(&command.body, origin.scope()) else {
            return Ok(ClaimedLines::new());
        };
        if let (Some(profile), Some(channel)) = (profile, origin.channel)
            && !admits(&profile.channels, channel)
        {
            let refusal = Rejection::new(Reason::NotAuthoritative).text("channel", command.context.channel);
            return Err(refusal.text("source", writer.source.unwrap_or_default()));
        }
        if let Body::Stock { kind: kind @ (StockKind::Set | StockKind::Counted), lines } = &command.body {
            return self.claimed_lines(*kind, lines, (writer, profile), origin);
        }
        let Some(right) = right_of(&command.body) else {
            return Ok(ClaimedLines::new());
        };
        match touched.iter().find(|touched| !self.may(writer, profile, right, **touched)) {
            Some(touched) => Err(self.not_authoritative(writer, right, *touched)),
            None => Ok(ClaimedLines::new()),
        }
    }

    fn may(
        &self,
        writer: Writer<'_>,
        profile: Option<&SourceProfile>,
        right: Right,
        (state, location): Touched,
    ) -> bool {
        let holds = || self.holders_of(right, state, location).iter().any(|holder| writer.is(holder));
        let admitted = profile.is_none_or(|profile| admits(&profile.locations, location));
        (admitted || planted::is("profile_limit_ignored")) && (!self.is_governed(right) || holds())
    }

    /// Names the right that is lacking, and who has it: for a state whoever owns it.
    fn not_authoritative(&self, writer: Writer<'_>, right: Right, (state, location): Touched) -> Rejection {
        let owning = if right.is_of_stock() { Right::Set } else { right };
        let [owner, holder] = [owning, right].map(|right| self.holders_of(right, state, location).first());
        let mut refusal = Rejection::new(Reason::NotAuthoritative).text("right", right.name());
        if right.is_of_stock() {
            refusal = refusal.text("state", state.name());
        }
        refusal = refusal.text("location", self.locations().name(location));
        refusal = refusal.text("source", writer.source.unwrap_or("operator"));
        match owner.or(holder) {
            Some(owner) => refusal.text("owner", owner.name()),
            None => refusal,
        }
    }

    /// Which lines of a command that states quantities are only claims.
    fn claimed_lines(
        &self,
        kind: StockKind,
        lines: &[StockLine<'_>],
        (writer, profile): (Writer<'_>, Option<&SourceProfile>),
        origin: &Origin<'_>,
    ) -> Result<ClaimedLines, Rejection> {
        let mut claimed = ClaimedLines::new();
        let mut added = 0;
        let source = origin.source.map(|position| position.source);
        // What was noted while rules were in force says nothing once there are none.
        let counts_age = kind == StockKind::Counted && self.is_governed(Right::Set);
        for line in lines {
            let (Some(item), Some(location)) = (self.items().find(line.sku), self.locations().find(line.location))
            else {
                return Ok(ClaimedLines::new());
            };
            let level = self.levels.find(item, location);
            let is_older = |count_ms| level.and_then(|level| self.authority.changes.of(level)) > Some(count_ms);
            let reason = if !self.may(writer, profile, Right::Set, (line.state, location)) {
                Some(ClaimReason::NotOwner)
            } else if counts_age && origin.event_time_ms.is_some_and(is_older) {
                Some(ClaimReason::AsOfStale).filter(|_| !planted::is("stale_count_applied"))
            } else {
                None
            };
            let is_new = level.is_none_or(|level| self.claim(&ClaimKey { source, level, state: line.state }).is_none());
            added += usize::from(reason.is_some() && is_new);
            claimed.push(reason);
        }
        if added > 0 && self.claim_count(source) + added > self.options.claims_max {
            return Err(Rejection::new(Reason::Overloaded)
                .text("source", writer.source.unwrap_or("operator"))
                .text("limit", "claims"));
        }
        if claimed.iter().all(Option::is_none) {
            claimed.clear();
        }
        Ok(claimed)
    }

    /// Where a command needs its right; nowhere if it needs none. `None` if it names what does not exist.
    fn touched(&self, body: &Body<'_>, scope: Scope) -> Option<Vec<Touched>> {
        match body {
            Body::Reserve { lines, .. } => self.places_of(lines),
            Body::Extend { target, .. } | Body::Allocate(target) | Body::Fulfill(target) => {
                self.places_held(target, scope)
            }
            // Cancelling a key that has held nothing yet is done nowhere.
            Body::Release(target) => {
                self.places_held(target, scope).or_else(|| self.cancels_a_key(target, scope).then(Vec::new))
            }
            Body::Amend { target, lines } => {
                let mut places = self.places_held(target, scope)?;
                places.extend(self.places_of(lines)?);
                Some(places)
            }
            Body::Transfer { target, to_location } => {
                let mut places = self.places_held(target, scope)?;
                places.push((StockState::OnHand, self.locations().find(to_location)?));
                Some(places)
            }
            Body::Stock { lines, .. } => {
                lines.iter().map(|line| self.known(line.sku, line.location, line.state)).collect()
            }
            Body::MoveQuantity { lines } => {
                let places = |state: fn(&MoveLine<'_>) -> StockState| {
                    lines.iter().map(move |line| self.known(line.sku, line.location, state(line)))
                };
                places(|line| line.from).chain(places(|line| line.to)).collect()
            }
            Body::StockTransfer(command) => self.places_of_transfer(command),
            Body::Upsert { .. }
            | Body::Delete { .. }
            | Body::RegisterSource { .. }
            | Body::SkipGap { .. }
            | Body::DiscardLetters { .. }
            | Body::Invalid(_) => Some(Vec::new()),
        }
    }

    fn known(&self, sku: &str, location: &str, state: StockState) -> Option<Touched> {
        self.items().find(sku)?;
        Some((state, self.locations().find(location)?))
    }

    fn places_of(&self, lines: &[Line<'_>]) -> Option<Vec<Touched>> {
        lines.iter().map(|line| self.known(line.sku, line.location, StockState::OnHand)).collect()
    }

    /// The locations of the lines that a target names, or of all lines of its holds.
    fn places_held(&self, target: &Target<'_>, scope: Scope) -> Option<Vec<Touched>> {
        if !target.lines.is_empty() {
            return self.places_of(&target.lines);
        }
        let mut holds = match target.by {
            TargetBy::Id(id) => OneOrMany::One(self.slab.find(id)?),
            TargetBy::UnknownToken(_) => return None,
            TargetBy::Key(key) => match &self.keys.find(scope, key)?.effect {
                Effect::Reserved(hold) => OneOrMany::One(self.slab.find(hold.id)?),
                _ => return None,
            },
            TargetBy::Order(order) => self.reservations_of_order(order).collect(),
        };
        // In the order in which they were made, as decisions name them.
        holds.sort_unstable_by_key(|hold| hold.sequence);
        let levels = holds.iter().flat_map(|hold| hold.lines.iter().map(|line| line.level));
        levels.map(|level| Some((StockState::OnHand, self.levels.get(level)?.location))).collect()
    }

    /// Goods leave the origin, arrive at the destination in their state, are lost on the way there, or are at the origin again.
    fn places_of_transfer(&self, command: &TransferCommand<'_>) -> Option<Vec<Touched>> {
        let (items, locations) = command.mentions();
        let known = items.iter().all(|sku| self.items().find(sku).is_some())
            && locations.iter().all(|location| self.locations().find(location).is_some());
        if !known {
            return None;
        }
        let route = || Some(self.stock_transfer(command.transfer())?.route);
        Some(match command {
            TransferCommand::Ship { from, .. } => vec![(StockState::OnHand, self.locations().find(from)?)],
            TransferCommand::Receive { arrival: Arrival::Whole, .. } => {
                vec![(StockState::OnHand, route()?.destination)]
            }
            TransferCommand::Receive { arrival: Arrival::Lines(lines), .. } => {
                let destination = route()?.destination;
                lines.iter().map(|line| (line.state, destination)).collect()
            }
            TransferCommand::Close { remainder: Remainder::Lost, .. } => {
                vec![(StockState::OnHand, route()?.destination)]
            }
            TransferCommand::Close { remainder: Remainder::SentBack, .. } => {
                vec![(StockState::OnHand, route()?.origin)]
            }
        })
    }

    /// The event that records an echo: a message that passes on one of another source that was applied already, or waits. What an older
    /// epoch of that source had not delivered, its source sends again, so nothing of it is news either.
    pub(crate) fn echo_of(&self, passed_on: &SourcePosition<'_>) -> Result<Option<Event>, Rejection> {
        let unknown = || Rejection::new(Reason::UnknownSource).text("source", passed_on.id);
        let handle = self.sources.find(passed_on.id).ok_or_else(unknown)?;
        let source = self.sources.get(handle).ok_or_else(unknown)?;
        if passed_on.epoch > source.epoch {
            return Err(Rejection::new(Reason::InvalidField)
                .text("field", "context.origin.epoch")
                .text("description", "an epoch that RegisterSource has not issued"));
        }
        // A message that was refused has done nothing, so passing it on is news. That is known of its latest messages.
        let refused = || source.applied(passed_on.sequence).is_some_and(AppliedMessage::is_refused);
        let is_applied = passed_on.epoch < source.epoch || (passed_on.sequence <= source.last && !refused());
        let echo = Event::Echoed { source: handle, epoch: passed_on.epoch, number: passed_on.sequence };
        Ok(is_applied.then_some(echo).filter(|_| !planted::is("echo_applied")))
    }

    /// Refuses rules that would give one state at one place two owners.
    pub(crate) fn check_one_owner(&self, names: &[&str], values: &[EntityValue]) -> Result<(), Rejection> {
        let rules = self.entities(EntityKind::AuthorityRules);
        let stored = rules.from(0).map(|(handle, value)| (rules.names().name(handle), value));
        let replaced: HashSet<&str> = names.iter().copied().collect();
        let kept = stored.filter(|(name, _)| !replaced.contains(name));
        let mut owners: HashMap<(Cell, Place), &str> = HashMap::new();
        for (name, value) in kept.chain(names.iter().copied().zip(values)) {
            for cell in rule_of(value).into_iter().flat_map(AuthorityRule::cells) {
                if cell.0 != Right::Set {
                    continue;
                }
                let Some(place) = rule_of(value).map(|rule| rule.place) else { continue };
                if let Some(other) = owners.insert((cell, place), name) {
                    return Err(Rejection::new(Reason::RuleConflict)
                        .text("kind", EntityKind::AuthorityRules.name())
                        .text("name", name)
                        .text("conflicts_with", other)
                        .text("state", cell.1.map_or("", StockState::name)));
                }
            }
        }
        Ok(())
    }
}

/// The right that a command needs, if it needs one: a table.
fn right_of(body: &Body<'_>) -> Option<Right> {
    match body {
        Body::Reserve { .. }
        | Body::Extend { .. }
        | Body::Amend { .. }
        | Body::Allocate(_)
        | Body::Release(_)
        | Body::Transfer { .. } => Some(Right::Promise),
        Body::Stock { kind: StockKind::Set | StockKind::Counted, .. } => Some(Right::Set),
        Body::Stock { kind: StockKind::Adjusted, .. } | Body::MoveQuantity { .. } => Some(Right::Adjust),
        Body::Stock { kind: StockKind::Received | StockKind::Returned, .. }
        | Body::Fulfill(_)
        | Body::StockTransfer(_) => Some(Right::Report),
        Body::Upsert { .. }
        | Body::Delete { .. }
        | Body::RegisterSource { .. }
        | Body::SkipGap { .. }
        | Body::DiscardLetters { .. }
        | Body::Invalid(_) => None,
    }
}

/// Whether a list of a profile has this handle; an empty one has all.
fn admits(list: &[Handle], handle: Handle) -> bool {
    list.is_empty() || list.contains(&handle)
}
