//! Tells the binary where libtorch lies, so that it runs without `LD_LIBRARY_PATH`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    // The migrations are compiled in; without this line a new file among them would go unnoticed.
    println!("cargo:rerun-if-changed=migrations");
    let libtorch = std::env::var("LIBTORCH").unwrap_or_default();
    // First where it was built, then `../lib` beside the binary, for images and packages. As a RUNPATH (new dtags), not an
    // RPATH: only then does a CUDA build of libtorch in `LD_LIBRARY_PATH` come first.
    println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,{libtorch}/lib:$ORIGIN/../lib");
}
