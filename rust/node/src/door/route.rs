//! Who answers a method.

use crate::methods::{self, Kind, Method};

pub(super) const SUBMIT: &str = "/invengine.v1.ReservationService/Submit";

/// Who answers a method. `bytes_max` is the longest message that it takes.
pub(super) enum Route {
    /// The engine, one answer for one message.
    Unary { bytes_max: usize },
    /// The engine, batch after batch.
    SubmitStream { bytes_max: usize },
    /// The journal.
    ReadEvents { bytes_max: usize },
    /// The service behind the door.
    Forward,
}

pub(super) fn route(path: &str) -> Route {
    let Some(method) = methods::find(path).filter(Method::native) else { return Route::Forward };
    let bytes_max = method.bytes_max;
    match method.kind {
        Kind::SubmitStream => Route::SubmitStream { bytes_max },
        Kind::ReadEvents => Route::ReadEvents { bytes_max },
        _ => Route::Unary { bytes_max },
    }
}
