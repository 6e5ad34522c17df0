fn main() -> std::process::ExitCode {
    kegd::cli::main()
}
