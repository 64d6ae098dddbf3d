//! Authority, without a table: every question is answered by reading all rules.

use std::collections::{BTreeMap, BTreeSet};

use invengine_ledger::authority::{AuthorityRuleDraft, Holder, PlaceDraft, Right, SourceKind};
use invengine_ledger::command::{Body, Line, SourcePosition, StockLine, Target, TargetBy, Upsert};
use invengine_ledger::entity::{Attributes, LocationType, SourceProfileDraft};
use invengine_ledger::event::StockKind;
use invengine_ledger::stock_transfer::{Arrival, Remainder, TransferCommand};
use invengine_ledger::{ClaimReason, Command, Context, EntityDraft, EntityKind, Reason, StockState};

use super::entities::Value;
use super::transfers::Transfer;
use super::{LevelKey, Model};
use crate::harness::answers::{Outcome, Refusal};
use crate::harness::authority::NamedClaim;

/// Where a rule counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulePlace {
    Everywhere,
    Type(LocationType),
    Location(String),
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    pub holder: Holder,
    pub rights: Vec<Right>,
    pub states: Vec<StockState>,
    pub place: RulePlace,
}

/// A profile of a source.
#[derive(Clone, Debug)]
pub struct Profile {
    pub kind: SourceKind,
    pub channels: Vec<String>,
    pub locations: Vec<String>,
}

/// A number that had no effect.
#[derive(Clone, Debug)]
pub struct Claim {
    pub source: Option<String>,
    pub place: LevelKey,
    pub state: StockState,
    pub quantity: i64,
    pub reason: ClaimReason,
    pub sequence: u64,
    pub event_time_ms: Option<i64>,
}

/// Why each line is only a claim.
pub type Reasons = Vec<Option<ClaimReason>>;

/// The stock transfers before a command.
pub type Before = BTreeMap<String, Transfer>;

/// States at locations.
type Touched = Vec<(StockState, String)>;

fn is_of_stock(right: Right) -> bool {
    [Right::Set, Right::Adjust, Right::Report].contains(&right)
}

fn in_one_part(one: Right, other: Right) -> bool {
    one == other || (is_of_stock(one) && is_of_stock(other))
}

impl Rule {
    fn new(draft: &AuthorityRuleDraft<'_>) -> Self {
        let place = match draft.place {
            PlaceDraft::Everywhere => RulePlace::Everywhere,
            PlaceDraft::Type(kind) => RulePlace::Type(kind),
            PlaceDraft::Location(name) => RulePlace::Location(name.to_owned()),
        };
        Rule { holder: draft.holder.clone(), rights: draft.rights.clone(), states: draft.states.clone(), place }
    }

    fn grants(&self, right: Right, state: StockState) -> bool {
        let about = !is_of_stock(right) || self.states.is_empty() || self.states.contains(&state);
        self.rights.contains(&right) && about
    }
}

fn source_of(context: &Context<'_>) -> Option<String> {
    context.source.map(|position| position.id.to_owned())
}

impl Model {
    /// The value of a rule as text.
    pub fn rule_value(&self, draft: &AuthorityRuleDraft<'_>) -> Result<Value, Refusal> {
        if let Holder::Source(name) = &draft.holder
            && !self.sources.contains_key(&**name)
        {
            return Err(Refusal::new(Reason::UnknownSource).fact("source", name));
        }
        let place = match draft.place {
            PlaceDraft::Everywhere => "everywhere".to_owned(),
            PlaceDraft::Type(kind) => format!("type {kind:?}"),
            PlaceDraft::Location(name) if !self.knows(EntityKind::Locations, name) => {
                return Err(Refusal::new(Reason::UnknownLocation).fact("location", name));
            }
            PlaceDraft::Location(name) => format!("location {name}"),
        };
        let lists = [format!("{:?}", draft.rights), format!("{:?}", draft.states)];
        Ok([format!("{:?}", draft.holder)].into_iter().chain(lists).chain([place]).collect())
    }

    /// The value of a profile as text.
    pub fn profile_value(&self, draft: &SourceProfileDraft<'_>) -> Result<Value, Refusal> {
        if let Some(name) = draft.channels.iter().find(|name| !self.knows(EntityKind::Channels, name)) {
            return Err(Refusal::new(Reason::UnknownChannel).fact("channel", name));
        }
        if let Some(name) = draft.locations.iter().find(|name| !self.knows(EntityKind::Locations, name)) {
            return Err(Refusal::new(Reason::UnknownLocation).fact("location", name));
        }
        Ok(vec![format!("{:?}", draft.kind), draft.channels.join(","), draft.locations.join(",")])
    }

    /// Keeps what stands behind the name of a rule or profile.
    pub fn keep(&mut self, entry: &Upsert<'_>) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        match &entry.value {
            EntityDraft::AuthorityRule(draft) => {
                self.rules.insert(entry.name.to_owned(), Rule::new(draft));
            }
            EntityDraft::SourceProfile(draft) => {
                let (channels, locations) = (owned(&draft.channels), owned(&draft.locations));
                let profile = Profile { kind: draft.kind, channels, locations };
                self.profiles.insert(entry.name.to_owned(), profile);
            }
            _ => {}
        }
    }

    /// Drops it.
    pub fn drop_kept(&mut self, kind: EntityKind, name: &str) {
        match kind {
            EntityKind::AuthorityRules => drop(self.rules.remove(name)),
            EntityKind::SourceProfiles => drop(self.profiles.remove(name)),
            _ => {}
        }
    }

    /// Rules that refer to a location, and profiles.
    pub fn user_of_location(&self, name: &str) -> Option<String> {
        let mut profiles = self.entities.ever(EntityKind::SourceProfiles).map(|(profile, _)| profile);
        let in_profile =
            |of: &&str| self.profiles.get(*of).is_some_and(|profile| profile.locations.iter().any(|at| at == name));
        let mut rules = self.entities.ever(EntityKind::AuthorityRules).map(|(rule, _)| rule);
        let in_rule =
            |of: &&str| self.rules.get(*of).is_some_and(|rule| rule.place == RulePlace::Location(name.to_owned()));
        let profile = profiles.find(in_profile).map(|profile| format!("source_profile {profile}"));
        profile.or_else(|| rules.find(in_rule).map(|rule| format!("authority_rule {rule}")))
    }

    /// Refuses two owners of one state at one place.
    pub fn check_owners(&self, entries: &[Upsert<'_>]) -> Result<(), Refusal> {
        let kept = self.rules_in_order().filter(|(name, _)| entries.iter().all(|entry| entry.name != *name));
        let mut all: Vec<(String, Rule)> = kept.map(|(name, rule)| (name.to_owned(), rule.clone())).collect();
        for entry in entries {
            if let EntityDraft::AuthorityRule(draft) = &entry.value {
                all.push((entry.name.to_owned(), Rule::new(draft)));
            }
        }
        for (at, (name, rule)) in all.iter().enumerate() {
            let states = if rule.states.is_empty() { StockState::all().collect() } else { rule.states.clone() };
            for state in states.into_iter().filter(|_| rule.rights.contains(&Right::Set)) {
                let same = |(_, other): &&(String, Rule)| other.place == rule.place && other.grants(Right::Set, state);
                if let Some((other, _)) = all[..at].iter().find(same) {
                    let refusal = Refusal::new(Reason::RuleConflict).fact("kind", "authority_rule").fact("name", name);
                    return Err(refusal.fact("conflicts_with", other).fact("state", state.name()));
                }
            }
        }
        Ok(())
    }

    fn rules_in_order(&self) -> impl Iterator<Item = (&str, &Rule)> {
        let names = self.entities.ever(EntityKind::AuthorityRules).map(|(name, _)| name);
        names.filter_map(|name| Some((name, self.rules.get(name)?)))
    }

    /// Whether any rule is about this right or one that is in force together with it.
    pub fn is_governed(&self, right: Right) -> bool {
        self.rules.values().any(|rule| rule.rights.iter().any(|other| in_one_part(*other, right)))
    }

    /// The holders of a right by the most specific rules for it.
    pub fn holders_of(&self, right: Right, state: StockState, location: &str) -> Vec<Holder> {
        let has_type = |kind: LocationType| {
            let value = self.entities.get(EntityKind::Locations, location).and_then(|entity| entity.value.as_ref());
            value.is_some_and(|value| value[2] == format!("{:?}", Attributes::Location(kind)))
        };
        let at = |rule: &Rule, rank: usize| match &rule.place {
            RulePlace::Location(name) => rank == 0 && name == location,
            RulePlace::Type(kind) => rank == 1 && has_type(*kind),
            RulePlace::Everywhere => rank == 2,
        };
        for rank in 0..3 {
            let rules = self.rules_in_order().map(|(_, rule)| rule);
            let found: Vec<_> = rules.filter(|rule| at(rule, rank) && rule.grants(right, state)).collect();
            if !found.is_empty() {
                return found.into_iter().map(|rule| rule.holder.clone()).collect();
            }
        }
        Vec::new()
    }

    fn may(&self, context: &Context<'_>, right: Right, state: StockState, location: &str) -> bool {
        let source = source_of(context);
        let profile = source.as_ref().and_then(|source| self.profiles.get(source));
        if profile.is_some_and(|found| !found.locations.is_empty() && !found.locations.iter().any(|at| at == location))
        {
            return false;
        }
        let is_held = |holder: &Holder| match holder {
            Holder::Operator => source.is_none(),
            Holder::Source(name) => source.as_deref() == Some(&**name),
            Holder::Kind(kind) => profile.is_some_and(|profile| profile.kind == *kind),
        };
        !self.is_governed(right) || self.holders_of(right, state, location).iter().any(is_held)
    }

    fn refuse(&self, context: &Context<'_>, right: Right, state: StockState, location: &str) -> Refusal {
        let of_stock = is_of_stock(right);
        let mut refusal = Refusal::new(Reason::NotAuthoritative).fact("right", right.name());
        if of_stock {
            refusal = refusal.fact("state", state.name());
        }
        let source = source_of(context).unwrap_or_else(|| "operator".to_owned());
        refusal = refusal.fact("location", location).fact("source", source);
        let mut owners = if of_stock { self.holders_of(Right::Set, state, location) } else { Vec::new() };
        owners.extend(self.holders_of(right, state, location));
        match owners.first() {
            Some(owner) => refusal.fact("owner", owner.name()),
            None => refusal,
        }
    }

    /// True if a command passes on what was applied already.
    pub fn is_echo(&self, passed_on: &SourcePosition<'_>) -> Result<bool, Refusal> {
        let Some(source) = self.sources.get(passed_on.id) else {
            return Err(Refusal::new(Reason::UnknownSource).fact("source", passed_on.id));
        };
        if passed_on.epoch > source.epoch {
            let refusal = Refusal::new(Reason::InvalidField).fact("field", "context.origin.epoch");
            return Err(refusal.fact("description", "an epoch that RegisterSource has not issued"));
        }
        // One that was refused has done nothing.
        let refused = source.kept.iter().any(|kept| kept.0 == passed_on.sequence && kept.3.is_err());
        Ok(passed_on.epoch < source.epoch || (passed_on.sequence <= source.last && !refused))
    }

    /// Refuses a command whose writer lacks the right. Returns why each line that states a quantity is only a claim.
    pub fn check_authority(&self, command: &Command<'_>) -> Result<Reasons, Refusal> {
        let context = &command.context;
        let Some((right, touched)) = self.touched(command) else { return Ok(Vec::new()) };
        let profile = source_of(context).and_then(|source| self.profiles.get(&source));
        let channel = context.channel;
        let refuses = |found: &&Profile| !found.channels.is_empty() && !found.channels.iter().any(|at| at == channel);
        if profile.filter(refuses).is_some() && !channel.is_empty() {
            let refusal = Refusal::new(Reason::NotAuthoritative).fact("channel", channel);
            return Err(refusal.fact("source", source_of(context).unwrap_or_default()));
        }
        let Some(right) = right else { return Ok(Vec::new()) };
        if let Body::Stock { kind: kind @ (StockKind::Set | StockKind::Counted), lines } = &command.body {
            return self.claims_of(context, *kind, lines);
        }
        match touched.into_iter().find(|(state, location)| !self.may(context, right, *state, location)) {
            Some((state, location)) => Err(self.refuse(context, right, state, &location)),
            None => Ok(Vec::new()),
        }
    }

    fn claims_of(&self, context: &Context<'_>, kind: StockKind, lines: &[StockLine<'_>]) -> Result<Reasons, Refusal> {
        let mut reasons = Vec::new();
        let source = source_of(context);
        let mut added = 0;
        for line in lines {
            let place = (line.sku.to_owned(), line.location.to_owned());
            let is_old = |counted_ms: i64| self.changed.get(&place).is_some_and(|changed| counted_ms < *changed);
            let reason = if !self.may(context, Right::Set, line.state, line.location) {
                Some(ClaimReason::NotOwner)
            } else if kind == StockKind::Counted
                && self.is_governed(Right::Set)
                && context.event_time_ms.is_some_and(is_old)
            {
                Some(ClaimReason::AsOfStale)
            } else {
                None
            };
            let is_same = |claim: &Claim| (&claim.source, &claim.place, claim.state) == (&source, &place, line.state);
            added += usize::from(reason.is_some() && !self.claims.iter().any(is_same));
            reasons.push(reason);
        }
        let there = self.claims.iter().filter(|claim| claim.source == source).count();
        if added > 0 && there + added > self.claims_max {
            let source = source.unwrap_or_else(|| "operator".to_owned());
            return Err(Refusal::new(Reason::Overloaded).fact("source", source).fact("limit", "claims"));
        }
        Ok(reasons)
    }

    /// Replaces the writer's claims about the lines that are only claims, and ends those about the others. `sequence` is the
    /// position before the first line.
    pub fn note_claims(&mut self, context: &Context<'_>, lines: &[StockLine<'_>], reasons: &Reasons, sequence: u64) {
        let source = source_of(context);
        for (number, line) in lines.iter().enumerate() {
            let (place, state) = ((line.sku.to_owned(), line.location.to_owned()), line.state);
            self.claims.retain(|claim| (&claim.source, &claim.place, claim.state) != (&source, &place, state));
            if let Some(reason) = reasons.get(number).copied().flatten() {
                let (quantity, sequence) = (line.quantity, sequence + 1 + number as u64);
                let (source, event_time_ms) = (source.clone(), context.event_time_ms);
                self.claims.push(Claim { source, place, state, quantity, reason, sequence, event_time_ms });
            }
        }
    }

    /// All claims, as the ledger has them.
    pub fn named_claims(&self) -> Vec<NamedClaim> {
        let named = |claim: &Claim| {
            let (sku, location) = claim.place.clone();
            let (quantity, reason) = (claim.quantity, claim.reason);
            (claim.source.clone(), sku, location, claim.state, quantity, reason, claim.sequence, claim.event_time_ms)
        };
        let mut all: Vec<NamedClaim> = self.claims.iter().map(named).collect();
        all.sort_by_key(|claim| claim.6);
        all
    }

    /// Notes when goods moved, while rules say who may speak of stock.
    pub fn note_changes(&mut self, before: &Before, command: &Command<'_>, reasons: &Reasons, outcome: &Outcome) {
        if !self.is_governed(Right::Set) {
            return;
        }
        let time_ms = command.context.event_time_ms.map_or(self.time_ms, |time_ms| time_ms.min(self.time_ms));
        for place in self.moved(before, command, reasons, outcome) {
            let changed = self.changed.entry(place).or_insert(time_ms);
            *changed = time_ms.max(*changed);
        }
    }

    fn moved(
        &self,
        before: &Before,
        command: &Command<'_>,
        reasons: &Reasons,
        outcome: &Outcome,
    ) -> BTreeSet<LevelKey> {
        let place = |sku: &str, location: &str| (sku.to_owned(), location.to_owned());
        match (&command.body, outcome) {
            (Body::Stock { lines, .. }, _) => {
                let took_effect = |number: &usize| reasons.get(*number).copied().flatten().is_none();
                let lines = (0..lines.len()).filter(took_effect).map(|number| &lines[number]);
                lines.map(|line| place(line.sku, line.location)).collect()
            }
            (Body::MoveQuantity { lines }, _) => lines.iter().map(|line| place(line.sku, line.location)).collect(),
            (Body::Fulfill(_), Outcome::Holds(holds)) => {
                let lines = holds.iter().flat_map(|hold| &hold.lines);
                lines.map(|line| place(&line.sku, &line.location)).collect()
            }
            (Body::StockTransfer(TransferCommand::Ship { from, lines, .. }), _) => {
                lines.iter().map(|line| place(line.sku, from)).collect()
            }
            (Body::StockTransfer(asked), _) => {
                let (old, new) = (&before[asked.transfer()], &self.transfers[asked.transfer()]);
                let mut places = BTreeSet::new();
                for (sku, line) in &new.lines {
                    let was = old.lines.get(sku).copied().unwrap_or_default();
                    if line.received != was.received {
                        places.insert(place(sku, &new.to));
                    }
                    if line.sent_back != was.sent_back {
                        places.insert(place(sku, &new.from));
                    }
                }
                places
            }
            _ => BTreeSet::new(),
        }
    }

    /// The right that a command needs, and where. `None` if it names what does not exist.
    fn touched(&self, command: &Command<'_>) -> Option<(Option<Right>, Touched)> {
        let context = &command.context;
        let at = |sku: &str, location: &str, state| self.place(sku, location).ok().map(|place| (state, place.1));
        let some = |right, touched: Option<Touched>| Some((Some(right), touched?));
        match &command.body {
            Body::SkipGap { .. } | Body::DiscardLetters { .. } | Body::Invalid(_) => Some((None, Vec::new())),
            Body::Reserve { lines, .. } => some(Right::Promise, self.at_lines(lines)),
            Body::Extend { target, .. } | Body::Allocate(target) => some(Right::Promise, self.held(context, target)),
            Body::Release(target) => {
                let used = |key: &str| self.keys.get(&(self.writer(context), key.to_owned()));
                let cancels =
                    matches!(target.by, TargetBy::Key(key) if used(key).is_none_or(|known| known.outcome.is_none()));
                some(Right::Promise, self.held(context, target).or_else(|| cancels.then(Vec::new)))
            }
            Body::Fulfill(target) => some(Right::Report, self.held(context, target)),
            Body::Amend { target, lines } => {
                let (held, wanted) = (self.held(context, target)?, self.at_lines(lines)?);
                some(Right::Promise, Some([held, wanted].concat()))
            }
            Body::Transfer { target, to_location } => {
                let mut touched = self.held(context, target)?;
                self.entities.get(EntityKind::Locations, to_location)?;
                touched.push((StockState::OnHand, (*to_location).to_owned()));
                some(Right::Promise, Some(touched))
            }
            Body::Stock { kind, lines } => {
                let right = match kind {
                    StockKind::Received | StockKind::Returned => Right::Report,
                    StockKind::Adjusted => Right::Adjust,
                    StockKind::Set | StockKind::Counted => Right::Set,
                };
                some(right, lines.iter().map(|line| at(line.sku, line.location, line.state)).collect())
            }
            Body::MoveQuantity { lines } => {
                let from = lines.iter().map(|line| at(line.sku, line.location, line.from));
                let to = lines.iter().map(|line| at(line.sku, line.location, line.to));
                some(Right::Adjust, from.chain(to).collect())
            }
            Body::StockTransfer(asked) => some(Right::Report, self.at_transfer(asked)),
            Body::Upsert { .. } | Body::Delete { .. } | Body::RegisterSource { .. } => Some((None, Vec::new())),
        }
    }

    fn at_lines(&self, lines: &[Line<'_>]) -> Option<Touched> {
        let at = |line: &Line<'_>| self.place(line.sku, line.location).ok().map(|place| (StockState::OnHand, place.1));
        lines.iter().map(at).collect()
    }

    fn held(&self, context: &Context<'_>, target: &Target<'_>) -> Option<Touched> {
        if !target.lines.is_empty() {
            return self.at_lines(&target.lines);
        }
        let known = |id| self.holds.iter().find(|hold| hold.id == id);
        let holds = match target.by {
            TargetBy::Id(id) => vec![known(id)?],
            TargetBy::UnknownToken(_) => return None,
            TargetBy::Key(key) => match &self.keys.get(&(self.writer(context), key.to_owned()))?.outcome {
                Some(Outcome::Reserved(hold)) => vec![known(hold.id)?],
                _ => return None,
            },
            TargetBy::Order(order) => self.holds.iter().filter(|hold| hold.order_ref == order).collect(),
        };
        let places = holds.iter().flat_map(|hold| hold.lines.keys());
        Some(places.map(|place| (StockState::OnHand, place.1.clone())).collect())
    }

    fn at_transfer(&self, asked: &TransferCommand<'_>) -> Option<Touched> {
        let exists = self.entities.get(EntityKind::StockTransfers, asked.transfer()).is_some();
        let document = self.transfers.get(asked.transfer()).filter(|_| exists);
        let (skus, locations) = asked.mentions();
        let is_known = skus.iter().all(|sku| self.knows(EntityKind::Items, sku))
            && locations.iter().all(|location| self.knows(EntityKind::Locations, location));
        if !is_known {
            return None;
        }
        let sellable = |location: &str| vec![(StockState::OnHand, location.to_owned())];
        Some(match asked {
            TransferCommand::Ship { from, .. } => sellable(from),
            TransferCommand::Receive { arrival: Arrival::Lines(lines), .. } => {
                let to = &document?.to;
                lines.iter().map(|line| (line.state, to.clone())).collect()
            }
            TransferCommand::Receive { arrival: Arrival::Whole, .. }
            | TransferCommand::Close { remainder: Remainder::Lost, .. } => sellable(&document?.to),
            TransferCommand::Close { remainder: Remainder::SentBack, .. } => sellable(&document?.from),
        })
    }
}
