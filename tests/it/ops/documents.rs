//! The documents at the root and in `docs/`: the files, sections and tests that they name, their commands and settings,
//! and the defaults that the guide tells.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use polymarketspy::config::NAMES;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Names in capitals that are not settings of the program: of the tests, of nginx and Compose, of the domain.
const NO_SETTINGS: &[&str] = &["DATABASE_TEST_URL"];

/// The endings by which a name counts as a setting. Reason codes and other names in capitals have none of them.
const ENDINGS: &[&str] = &["_URL", "_BIND", "_SECRET", "_EMAIL", "_LEVEL", "_HEADER", "_CLIENT_ID", "_ADDRESSES"];

/// Returns every `*.md` at the root, by name.
fn documents() -> BTreeMap<String, String> {
    let files = std::fs::read_dir(ROOT).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// Returns the mistakes of a document. `commands` tells whether the program has a command of these words.
fn faults(text: &str, root: &Path, is_command: impl Fn(&[&str]) -> bool) -> Vec<String> {
    let broken = links(text).into_iter().filter(|link| !leads_somewhere(link, text, root));
    let mut faults: Vec<String> = broken.map(|link| format!("the link `{link}` leads nowhere")).collect();
    let unknown = commands(text).into_iter().filter(|words| !is_command(words));
    faults.extend(unknown.map(|words| format!("`polymarketspy {}` is no command", words.join(" "))));
    faults.extend(
        settings(text).into_iter().filter(|name| !NAMES.contains(name)).map(|name| {
            format!("`{name}` is no setting; one that is somebody else's stands in NO_SETTINGS of this test")
        }),
    );
    faults
}

/// Returns the targets of links and pictures, except those on other sites.
fn links(text: &str) -> Vec<&str> {
    let after = |start: &'static str, end: char| {
        text.split(start).skip(1).filter_map(move |rest| rest.split_once(end)).map(|(target, _)| target)
    };
    let targets =
        after("](", ')').chain(after("src=\"", '"')).chain(after("srcset=\"", '"')).chain(after("href=\"", '"'));
    targets.filter(|target| !target.contains("://")).collect()
}

fn leads_somewhere(link: &str, text: &str, root: &Path) -> bool {
    let (file, section) = link.split_once('#').unwrap_or((link, ""));
    let there = match file {
        "" => text.to_owned(),
        _ if section.is_empty() => return root.join(file).exists(),
        _ => match std::fs::read_to_string(root.join(file)) {
            Ok(there) => there,
            Err(_) => return false,
        },
    };
    section.is_empty() || there.lines().filter_map(anchor).any(|anchor| anchor == section)
}

/// Returns the anchor that GitHub makes of a heading.
fn anchor(line: &str) -> Option<String> {
    let heading = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?;
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}

/// Returns the plain words after the program's name in code: two when the command has subcommands. A sentence about the
/// program names no command. Neither does an option whose value is its name (`sudo -u polymarketspy`), nor a database
/// of that name.
fn commands(text: &str) -> BTreeSet<Vec<&str>> {
    let is_word =
        |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase()) && !word.contains(|c: char| !is_of_word(c));
    let mut commands = BTreeSet::new();
    for line in codes(text).into_iter().flat_map(str::lines) {
        for start in ["polymarketspy ", "cargo run -- ", "cargo run --release -- "] {
            for (at, _) in line.match_indices(start) {
                if line[..at]
                    .split_whitespace()
                    .next_back()
                    .is_some_and(|word| word.starts_with('-') || word == "database")
                {
                    continue;
                }
                let mut words: Vec<&str> = line[at + start.len()..].split(' ').take_while(is_word).collect();
                words.truncate(if words.first().is_some_and(|first| HAVE_COMMANDS.contains(first)) { 2 } else { 1 });
                if !words.is_empty() {
                    commands.insert(words);
                }
            }
        }
    }
    commands
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_lowercase() || c == '-'
}

/// Commands that have subcommands.
const HAVE_COMMANDS: &[&str] = &["config", "jobs", "token", "admin", "measure"];

/// Returns the texts in backticks and the blocks of code.
fn codes(text: &str) -> Vec<&str> {
    let mut codes = Vec::new();
    for (place, block) in text.split("```").enumerate() {
        if place % 2 == 1 {
            codes.push(block);
        } else {
            codes.extend(block.split('`').skip(1).step_by(2));
        }
    }
    codes
}

fn settings(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    codes(text)
        .into_iter()
        .flat_map(|code| code.split(move |c: char| !is_part(c)))
        .filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
        .filter(|name| *name == "BIND" || ENDINGS.iter().any(|ending| name.ends_with(ending)))
        .filter(|name| !NO_SETTINGS.contains(name))
        .collect()
}

/// Whether the program has a help text for this command.
fn is_command(words: &[&str]) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    command.args(words).arg("--help").output().unwrap().status.success()
}

#[test]
fn documents_name_only_existing_links_commands_and_settings() {
    let documents = documents();
    for name in ["README.md", "GUIDE.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        assert!(documents.contains_key(name), "{name} is missing");
    }
    let faults: Vec<String> = documents
        .iter()
        .flat_map(|(name, text)| {
            faults(text, Path::new(ROOT), is_command).into_iter().map(move |fault| format!("{name}: {fault}"))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let readme = &documents["README.md"];
    assert!(links(readme).len() > 5 && commands(readme).len() > 10 && settings(readme).len() > 5, "it was understood");
}

#[test]
fn a_missing_link_command_or_setting_is_reported() {
    let check = |text: &str, n_faults: usize| {
        let found = faults(text, Path::new(ROOT), is_command);
        assert_eq!(found.len(), n_faults, "{text}: {found:?}");
    };
    check("[how](ARCHITECTURE.md), [why](ARCHITECTURE.md#the-path-of-one-fill), [out](https://example.com)", 0);
    check("[how](ARCHITECTURES.md)", 1);
    check("[how](ARCHITECTURE.md#the-path-of-two-fills)", 1);
    check("# One thing\n[here](#one-thing)", 0);
    check("# One thing\n[here](#another)", 1);
    check("![picture](docs/screens/nothing.png) <img src=\"nothing.png\">", 2);
    check("`polymarketspy follow <name>`, `cargo run -- jobs list --json`", 0);
    check("`polymarketspy fellow <name>`", 1);
    check("```sh\ncargo run -- jobs lost\n```", 1);
    check("`polymarketspy config set system.initialBankrollMicros=1`", 0);
    check(
        "polymarketspy follows the traders you name; `sudo -u polymarketspy psql`, `journalctl -u polymarketspy --since today`",
        0,
    );
    check("`REDIS_URL`, `PUBLIC_URL=https://your.name`, `SIGNAL_TOO_OLD`", 0);
    check("`REDDIS_URL`", 1);
}

/// The contract and the records in `docs/` also name commands and settings of other programs and of later versions, so
/// only what they link to, the files and the tests that they name are held.
#[test]
fn pages_in_docs_name_only_existing_links_and_files() {
    let mut mistakes = Vec::new();
    let mut n_links = 0;
    for folder in ["docs", "docs/adr"] {
        let folder = Path::new(ROOT).join(folder);
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            n_links += links(&text).len();
            let broken = links(&text).into_iter().filter(|link| !leads_somewhere(link, &text, &folder));
            mistakes.extend(broken.map(|link| format!("{}: the link `{link}`", path.display())));
            mistakes.extend(missing_files(&text).into_iter().map(|file| format!("{}: `{file}`", path.display())));
        }
    }
    for (name, text) in documents() {
        mistakes.extend(missing_files(&text).into_iter().map(|file| format!("{name}: `{file}`")));
    }
    assert!(mistakes.is_empty(), "these are not there:\n{}", mistakes.join("\n"));
    assert!(n_links > 50, "only {n_links} links in docs/: the reader is broken");
}

#[test]
fn each_invariant_names_a_test_that_exists() {
    let architecture = &documents()["ARCHITECTURE.md"];
    let section = architecture.split("\n## ").find(|section| section.starts_with("Invariants")).unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(rows.len() > 5, "the table of invariants was not found");
    let sources = sources_of(&["src", "tests/it"]);
    for row in rows {
        let tests: Vec<&str> = codes(row).into_iter().filter(|code| code.matches('_').count() >= 3).collect();
        assert!(!tests.is_empty(), "no test is named in: {row}");
        for test in tests {
            assert!(sources.contains(&format!("fn {test}(")), "there is no test `{test}`");
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_reported() {
    assert_eq!(missing_files("`src/lib.rs`, `tests/it/`, `src/domain/` and `src/no_such.rs`"), ["src/no_such.rs"]);
}

/// Returns the paths below `src/`, `tests/`, `docs/`, `scripts/` and the like in code that do not exist.
fn missing_files(text: &str) -> Vec<&str> {
    const FOLDERS: &[&str] =
        &["src/", "tests/", "docs/", "scripts/", "docker/", "migrations/", "findings/", "benches/"];
    let is_of_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '-');
    codes(text)
        .into_iter()
        .filter(|code| FOLDERS.iter().any(|folder| code.starts_with(folder)) && code.chars().all(is_of_path))
        // Git ignores the file of secrets that an operator makes.
        .filter(|code| *code != "docker/.env" && !Path::new(ROOT).join(code).exists())
        .collect()
}

/// Returns all Rust sources below these folders as one text.
fn sources_of(folders: &[&str]) -> String {
    let mut open: Vec<_> = folders.iter().map(|folder| Path::new(ROOT).join(folder)).collect();
    let mut text = String::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    text
}

/// The settings of the page Config that the guide explains, each with its default as that page writes it.
#[test]
fn the_guide_knows_the_defaults() {
    let guide = &documents()["GUIDE.md"];
    let values = polymarketspy::domain::config::effective::StoredConfig::default();
    let (guardrails, sizing) = (values.guardrails, values.sizing);
    let cents = |price: polymarketspy::domain::money::units::PriceMicros| {
        format!("{}.{:02}¢", price.micros() / 10_000, price.micros() % 10_000 / 100)
    };
    let percent = |bps: i64| format!("{} %", bps as f64 / 100.0);
    for (name, value) in [
        ("*Worse than their fill, at most*", cents(guardrails.max_worsening_vs_their_fill)),
        ("*Away from mid, at most*", cents(guardrails.max_over_mid)),
        ("*Spread, at most*", cents(guardrails.max_spread)),
        ("*Depth of the target, at least*", percent(guardrails.min_depth_multiplier.0)),
        ("*No opens before close*", format!("{} min", guardrails.no_new_opens_within_minutes_to_close)),
        ("*Signal age, at most*", format!("{} s", guardrails.max_signal_age_seconds)),
        ("*Total exposure, at most*", percent(guardrails.max_total_exposure.0)),
        ("*per market*", percent(guardrails.max_exposure_per_market.0)),
        ("*per leader*", percent(guardrails.max_exposure_per_user.0)),
        ("*Daily loss limit*", percent(guardrails.daily_loss_limit.0)),
        ("*Weekly loss limit*", percent(guardrails.weekly_loss_limit.0)),
        ("*Drawdown limit*", percent(guardrails.max_drawdown_limit.0)),
    ] {
        assert!(guide.contains(&format!("{name}: {value}")), "{name} is {value} at first");
    }
    for (name, value) in [
        ("*Part that is copied*", percent(sizing.copy_pct_notional.0)),
        ("*Smallest copy*", format!("{} USDC", sizing.min_trade_notional.0 / 1_000_000)),
        ("*Largest copy*", format!("{} USDC", sizing.max_trade_notional.0 / 1_000_000)),
        ("*Largest copy, of equity*", percent(sizing.max_trade_bankroll.0)),
    ] {
        assert!(guide.contains(&format!("{name} ({value})")), "{name} is {value} at first");
    }
}
