//! The tip of a journal's chain: what the next frame must carry to continue all frames before it.

use invengine_ledger::planted;

use super::frame::{DecodedFrame, FrameHeader, ledger_id, next_chain};

/// The state after a prefix of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChainTip {
    pub ledger_id: u64,
    pub next_sequence: u64,
    pub chain: u64,
    pub writer_epoch: u64,
    pub time_ms: i64,
}

impl ChainTip {
    /// The empty journal of a ledger.
    pub fn start(ledger: &str) -> Self {
        let ledger_id = ledger_id(ledger);
        Self { ledger_id, next_sequence: 1, chain: ledger_id, writer_epoch: 0, time_ms: 0 }
    }

    /// The header of a frame of events that continues this tip.
    pub fn frame_header(&self, last_sequence: u64, time_ms: i64) -> FrameHeader {
        FrameHeader {
            claim: false,
            first_sequence: self.next_sequence,
            last_sequence,
            writer_epoch: self.writer_epoch,
            time_ms,
            ledger_id: self.ledger_id,
            chain: self.chain,
        }
    }

    /// The header of the claim of the next epoch, which is at least `epoch_min`.
    pub fn claim_header(&self, epoch_min: u64) -> FrameHeader {
        let last_sequence = self.next_sequence - 1;
        FrameHeader {
            claim: true,
            writer_epoch: (self.writer_epoch + u64::from(!planted::is("epoch_not_raised"))).max(epoch_min),
            ..self.frame_header(last_sequence, self.time_ms)
        }
    }

    /// Advances past a frame that continues the tip, or returns the rule that it breaks and changes nothing.
    pub fn accept(&mut self, frame: &DecodedFrame<'_>) -> Result<(), &'static str> {
        self.check(&frame.header, frame.payload)?;
        self.advance(&frame.header, frame.crc);
        Ok(())
    }

    /// Advances past a frame that this writer made itself.
    pub fn advance(&mut self, header: &FrameHeader, crc: u32) {
        self.next_sequence = header.last_sequence + 1;
        self.chain = next_chain(self.chain, crc);
        self.writer_epoch = header.writer_epoch;
        self.time_ms = header.time_ms;
    }

    fn check(&self, header: &FrameHeader, payload: &[u8]) -> Result<(), &'static str> {
        if header.ledger_id != self.ledger_id {
            return Err("the frame belongs to another ledger");
        }
        if header.first_sequence != self.next_sequence {
            return Err("the frame's sequence does not follow the frame before it");
        }
        if header.chain != self.chain && !planted::is("chain_not_compared") {
            return Err("the frame's chain does not match the frame before it");
        }
        if header.claim {
            return self.check_claim(header, payload);
        }
        if header.last_sequence < header.first_sequence || header.last_sequence == u64::MAX {
            return Err("the frame's last sequence is out of range");
        }
        if header.writer_epoch != self.writer_epoch || self.writer_epoch == 0 {
            return Err("the frame's writer epoch was never claimed");
        }
        Ok(())
    }

    fn check_claim(&self, header: &FrameHeader, payload: &[u8]) -> Result<(), &'static str> {
        if header.writer_epoch <= self.writer_epoch {
            return Err("the claimed writer epoch is not above the one before it");
        }
        if header.last_sequence != self.next_sequence - 1 || !payload.is_empty() {
            return Err("the claim carries events");
        }
        Ok(())
    }
}
