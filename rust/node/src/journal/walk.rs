//! The one walk over frames that start, verification, backup and snapshots share: every frame must continue those before it.
//! How a journal stores its frames, and what an invalid one means there, is known only to that journal.

use std::fmt::Display;

use super::JournalError;
use super::chain_tip::ChainTip;
use super::frame::DecodedFrame;
use super::snapshot_store::JournalPosition;

/// A frame that continues all frames before it.
pub(super) struct WalkedFrame<'w> {
    pub decoded: DecodedFrame<'w>,
    /// Full name of where it is stored, and its offset there.
    pub place: &'w dyn Display,
    pub offset: u64,
    /// Whether the position that the walk is to reach lies before it.
    pub reached: bool,
}

impl WalkedFrame<'_> {
    /// The error for a frame that a replay refused.
    pub fn refused(&self, why: String) -> JournalError {
        JournalError::Replay { file: self.place.to_string(), offset: self.offset, why }
    }
}

/// Called with each frame; false ends the walk.
pub(super) type WalkVisitor<'v> = dyn FnMut(&WalkedFrame<'_>) -> Result<bool, JournalError> + 'v;

/// How far the frames of a journal were read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    at: JournalPosition,
    /// The position to reach, until it is reached.
    target: Option<JournalPosition>,
}

impl Walk {
    /// Begins at a position.
    pub fn from(at: JournalPosition) -> Self {
        Self { at, target: None }
    }

    /// Begins before the first frame that is stored, which continues `tip`, and is to reach a position.
    pub fn towards(tip: ChainTip, target: JournalPosition) -> Self {
        let mut walk = Self { at: JournalPosition { tip, frames: 0 }, target: Some(target) };
        walk.note_target();
        walk
    }

    /// What the next frame must continue.
    pub fn tip(&self) -> &ChainTip {
        &self.at.tip
    }

    /// The position after the last frame. It counts the frames from where the walk began until its target is reached.
    pub fn position(&self) -> JournalPosition {
        self.at
    }

    /// Whether there is no position left to reach.
    pub fn has_reached(&self) -> bool {
        self.target.is_none()
    }

    /// Advances past a frame that continues the tip, or returns the rule that it breaks and changes nothing.
    pub fn accept(&mut self, frame: &DecodedFrame<'_>) -> Result<(), &'static str> {
        self.at.tip.accept(frame)
    }

    /// Passes the frame on that was accepted; returns whether the walk continues.
    pub fn pass(
        &mut self,
        decoded: DecodedFrame<'_>,
        place: &dyn Display,
        offset: u64,
        visit: &mut WalkVisitor<'_>,
    ) -> Result<bool, JournalError> {
        let goes_on = visit(&WalkedFrame { decoded, place, offset, reached: self.has_reached() })?;
        self.at.frames += 1;
        self.note_target();
        Ok(goes_on)
    }

    fn note_target(&mut self) {
        let tip = self.at.tip;
        if let Some(target) = self.target.take_if(|target| target.tip == tip) {
            self.at = target;
        }
    }
}
