//! Who answers a method.

use crate::methods::{self, COMMAND_BYTES_MAX, Kind};

/// Every method of it asks with one message.
const HEALTH: &str = "/grpc.health.v1.Health/";

pub(super) const SUBMIT: &str = "/invengine.v1.ReservationService/Submit";

/// Who answers a method. `bytes_max` is the longest message that it takes.
pub(super) enum Route {
    /// The engine, one answer for one message.
    Unary { bytes_max: usize },
    /// The engine, batch after batch.
    SubmitStream { bytes_max: usize },
    /// The journal.
    ReadEvents { bytes_max: usize },
    /// The service behind the door, which gets one message as the door does; without a limit its body as it comes.
    Forward { bytes_max: Option<usize> },
}

pub(super) fn route(path: &str) -> Route {
    let Some(method) = methods::find(path) else {
        return Route::Forward { bytes_max: path.starts_with(HEALTH).then_some(COMMAND_BYTES_MAX) };
    };
    let bytes_max = method.bytes_max;
    match method.kind {
        // No method that the door does not answer itself streams its questions.
        _ if !method.native() => Route::Forward { bytes_max: Some(bytes_max) },
        Kind::SubmitStream => Route::SubmitStream { bytes_max },
        Kind::ReadEvents => Route::ReadEvents { bytes_max },
        _ => Route::Unary { bytes_max },
    }
}
