# The daily commands. `just --list` explains them; https://just.systems has the program.
# Without `just`: every recipe is one line, so read it here and type it.

# Show this list
[private]
default:
    @just --list

# Run the whole bot against the built-in exchange, with a day of history (no database, account or network needed)
run:
    cargo run --locked -- demo

# Run the fast tests: no server needed, at most 2 minutes after the build; prints what it leaves out
test *FILTER:
    ./scripts/test-fast {{FILTER}}

# Run every check that a change must pass: format, lints, documentation, all tests, the browser tests
all:
    ./scripts/test

# Check format, lints and documentation, without running a test
check:
    cargo fmt --check && cargo clippy --locked --all-targets -- -D warnings && RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

# Run the benchmarks of the pure core: a decision, the ledger fold, a what-if test
bench *FILTER:
    cargo bench --locked -- {{FILTER}}

# Build the documentation of the code and open it in a browser
doc:
    cargo doc --locked --no-deps --open

# Format the code
fmt:
    cargo fmt
