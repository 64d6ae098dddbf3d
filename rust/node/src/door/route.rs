//! Which part answers a method.

use crate::methods::{self, COMMAND_BYTES_MAX, MethodKind};

const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTIONS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// Most bytes of a reflection request, which holds one name.
const REFLECTION_BYTES_MAX: usize = 4 << 10;

/// A known method.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) path: &'static str,
    /// The longest message that it accepts, in bytes.
    pub(super) bytes_max: usize,
    pub(super) handler: Handler,
}

/// The part that answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Handler {
    /// The engine, one answer for one message.
    Engine,
    /// The engine, batch after batch, each as the method of this path.
    BatchStream(&'static str),
    /// The engine, after it has read the journal.
    Waiting,
    /// The journal.
    ReadEvents,
    /// The service behind the door.
    Service(CallShape),
}

/// The shape of a call to the service.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CallShape {
    /// One request, one answer.
    Unary,
    /// One request, answers without end.
    Watch,
    /// Requests and answers, for a limited time.
    Reflection,
}

/// The route of a path; `None` if the method is unknown.
pub(super) fn route(path: &str) -> Option<Route> {
    let service = |path, bytes_max, shape| Some(Route { path, bytes_max, handler: Handler::Service(shape) });
    let Some(method) = methods::find(path) else {
        return match path {
            HEALTH_CHECK => service(HEALTH_CHECK, COMMAND_BYTES_MAX, CallShape::Unary),
            HEALTH_WATCH => service(HEALTH_WATCH, COMMAND_BYTES_MAX, CallShape::Watch),
            _ => service(
                REFLECTIONS.into_iter().find(|known| *known == path)?,
                REFLECTION_BYTES_MAX,
                CallShape::Reflection,
            ),
        };
    };
    let handler = match method.kind {
        // None of the methods that the door forwards streams its requests.
        _ if !method.native() => Handler::Service(CallShape::Unary),
        MethodKind::BatchStream(path) => Handler::BatchStream(path),
        MethodKind::ReadEvents => Handler::ReadEvents,
        _ if method.waits() => Handler::Waiting,
        _ => Handler::Engine,
    };
    Some(Route { path: method.path, bytes_max: method.bytes_max, handler })
}
