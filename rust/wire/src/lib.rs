//! The wire format: the messages of `invengine.v1`, generated from `protos/`, and the error details of
//! `google.rpc` that every refusal carries. No behaviour lives here.
#![forbid(unsafe_code)]

/// The messages of package `invengine.v1`.
#[allow(clippy::doc_markdown, clippy::large_enum_variant, clippy::doc_lazy_continuation)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/invengine.v1.rs"));
}

/// The parts of `google.rpc` that invengine answers with. Written out because they are four small messages whose
/// numbers are fixed for ever; the source is googleapis `google/rpc/{status,error_details}.proto`.
pub mod rpc {
    use std::collections::BTreeMap;

    /// `google.rpc.Status`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Status {
        /// Canonical gRPC status code.
        #[prost(int32, tag = "1")]
        pub code: i32,
        /// One sentence for people.
        #[prost(string, tag = "2")]
        pub message: String,
        /// Details, each with its type URL.
        #[prost(message, repeated, tag = "3")]
        pub details: Vec<prost_types::Any>,
    }

    /// `google.rpc.ErrorInfo`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ErrorInfo {
        /// Stable reason, such as INSUFFICIENT_STOCK.
        #[prost(string, tag = "1")]
        pub reason: String,
        /// Always "invengine".
        #[prost(string, tag = "2")]
        pub domain: String,
        /// Facts about the reason.
        #[prost(btree_map = "string, string", tag = "3")]
        pub metadata: BTreeMap<String, String>,
    }

    /// `google.rpc.BadRequest`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct BadRequest {
        /// The bad fields.
        #[prost(message, repeated, tag = "1")]
        pub field_violations: Vec<FieldViolation>,
    }

    /// `google.rpc.BadRequest.FieldViolation`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct FieldViolation {
        /// Path of the field.
        #[prost(string, tag = "1")]
        pub field: String,
        /// The rule.
        #[prost(string, tag = "2")]
        pub description: String,
    }

    /// `google.rpc.RetryInfo`.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct RetryInfo {
        /// How long to wait.
        #[prost(message, optional, tag = "1")]
        pub retry_delay: Option<prost_types::Duration>,
    }
}
