//! Compiles the ring, and nothing else, with the mutexes and atomics of loom.

fn main() {
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rerun-if-changed=build.rs");
}
