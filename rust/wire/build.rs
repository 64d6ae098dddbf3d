//! Compiles protos/ with protox, so that nobody needs a protoc.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protos");
    let services = ["reservation", "availability", "inventory", "catalog", "source", "policy", "journal", "admin"];
    let files: Vec<_> = services.iter().map(|name| root.join(format!("invengine/v1/{name}_service.proto"))).collect();
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [&root])?;
    prost_build::Config::new().btree_map([".invengine.v1.Rejection"]).compile_fds(descriptors)?;
    Ok(())
}
