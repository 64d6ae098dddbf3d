//! The history of a level, told backwards: the quantities before an event follow from those after it and from the event.

mod harness;
mod history;

use std::cell::RefCell;
use std::collections::HashMap;

use invengine_ledger::{
    Ledger, LedgerOptions, LevelChange, LevelFigures, LevelIndex, LevelPlace, Record, ReservedChange,
};
use proptest::prelude::*;

use harness::Frame;
use history::{Look, history, play};

/// The quantities of a level before a record, and what each of its events does there.
struct Told {
    level: LevelIndex,
    before: LevelFigures,
    changes: Vec<(LevelChange, i64)>,
}

/// The quantities by events alone: what has expired counts as reserved until its event.
fn figures(ledger: &Ledger, level: LevelIndex) -> LevelFigures {
    ledger.figures(level, i64::MIN)
}

fn told(ledger: &Ledger, record: &Record<'_>, place: &LevelPlace) -> Told {
    let level = place.level();
    let reserved = |id| {
        let lines = ledger.reservation(id).map(|hold| &hold.lines);
        lines.and_then(|lines| lines.iter().find(|line| line.level == level)).map_or(0, |line| line.reserved)
    };
    // What each hold of the record has reserved there, event by event.
    let mut held = HashMap::new();
    let mut changes = Vec::new();
    for event in record.events.iter() {
        assert_eq!(event.only_at(place).change_at(place), event.change_at(place), "other lines do not matter");
        let Some(change) = event.change_at(place) else { continue };
        let mut none = 0;
        let hold = event.hold().map(|(id, _)| id);
        let units = hold.map_or(&mut none, |id| held.entry((id.slot, id.generation)).or_insert_with(|| reserved(id)));
        let by = match change.reserved {
            ReservedChange::By(by) => by,
            ReservedChange::To(to) => to - *units,
        };
        *units += by;
        changes.push((change, by));
    }
    Told { level, before: figures(ledger, level), changes }
}

/// Checks every level that is there before a record.
fn check(frames: &[Frame]) {
    let mut ledger = Ledger::new(LedgerOptions::new("main"));
    let all: RefCell<Vec<Told>> = RefCell::default();
    for frame in frames {
        let mut before = |ledger: &Ledger, record: &Record<'_>| {
            let places = (0..ledger.level_count() as LevelIndex).filter_map(|level| ledger.place_of(level));
            *all.borrow_mut() = places.map(|place| told(ledger, record, &place)).collect();
            true
        };
        let mut after = |ledger: &Ledger, record: &Record<'_>| {
            for Told { level, before, changes } in all.borrow().iter() {
                let after = figures(ledger, *level);
                let found = changes.iter().rev().fold(after, |figures, (change, by)| figures.before(change, *by));
                assert_eq!(found, *before, "{record:?}");
            }
            true
        };
        ledger
            .fold_with(&frame.payload, frame.time_ms, frame.writer_epoch, &mut before, &mut after)
            .expect("a frame of its own");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_quantities_before_an_event_follow_from_those_after_it(steps in history(100)) {
        check(&play(&steps, 2_000, Look::End, false).harness.frames);
    }
}
