//! Who answers a method.

use crate::methods::{self, COMMAND_BYTES_MAX, Kind};

const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTIONS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// Most bytes of a question of reflection: it holds one name.
const REFLECTION_BYTES_MAX: usize = 4 << 10;

pub(super) const SUBMIT: &str = "/invengine.v1.ReservationService/Submit";

/// A method that is known.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) path: &'static str,
    /// The longest message that it takes.
    pub(super) bytes_max: usize,
    pub(super) to: To,
}

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The engine, one answer for one message.
    Engine,
    /// The engine, batch after batch.
    SubmitStream,
    /// The journal.
    ReadEvents,
    /// The service behind the door.
    Service(Shape),
}

/// How messages of the service flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One question, one answer.
    Unary,
    /// One question, answers for ever.
    Watch,
    /// Questions and answers for a while.
    Reflection,
}

/// Nothing if nobody knows the method.
pub(super) fn route(path: &str) -> Option<Route> {
    let service = |path, bytes_max, shape| Some(Route { path, bytes_max, to: To::Service(shape) });
    let Some(method) = methods::find(path) else {
        return match path {
            HEALTH_CHECK => service(HEALTH_CHECK, COMMAND_BYTES_MAX, Shape::Unary),
            HEALTH_WATCH => service(HEALTH_WATCH, COMMAND_BYTES_MAX, Shape::Watch),
            _ => {
                service(REFLECTIONS.into_iter().find(|known| *known == path)?, REFLECTION_BYTES_MAX, Shape::Reflection)
            }
        };
    };
    let to = match method.kind {
        // No method that the door does not answer itself streams its questions.
        _ if !method.native() => To::Service(Shape::Unary),
        Kind::SubmitStream => To::SubmitStream,
        Kind::ReadEvents => To::ReadEvents,
        _ => To::Engine,
    };
    Some(Route { path: method.path, bytes_max: method.bytes_max, to })
}
