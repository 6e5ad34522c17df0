fn main() {
    let libtorch = std::env::var("LIBTORCH").unwrap_or_default();
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libtorch}/lib:$ORIGIN/../lib");
}
