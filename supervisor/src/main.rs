//! Parse, dispatch, exit code.

fn main() -> std::process::ExitCode {
    intercept_sandbox::cli::main()
}
