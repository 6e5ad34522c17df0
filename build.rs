fn main() {
    let libtorch = std::env::var("LIBTORCH").unwrap_or_default();
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    // The migrations are compiled in; without this line a new file among them would go unnoticed.
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}/lib:$ORIGIN/../lib");
}
