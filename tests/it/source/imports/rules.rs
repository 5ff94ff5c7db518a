//! The rules of the source tree, and what breaks them.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Graph, Places};
use super::source::{Sources, parent_of};

/// In a fuller folder a reader has to search for a file; in a folder of this size it is seen at once.
pub const FILES_IN_A_FOLDER_MAX: usize = 15;

/// Which part may import which. A part is a module and all modules below it; a part may always import itself.
pub const RULES: &[Rule] = &[
    only("domain", &[], "the core is pure: it knows no other part of the program"),
    only("sql", &["domain", "clock"], "the ground floor of storage knows values, not facts or jobs"),
    only("queue", &["sql", "domain", "secret"], "jobs are rows on `sql`; they do not know what `db` stores"),
    only("db", &["sql", "queue", "domain", "chance"], "facts are stored with the jobs that they cause"),
    never("health", "web", &[], "the worker reports its health without the pages"),
    never("config", "db", &[], "settings are read before there is a database"),
    only(
        "actors::supervise",
        &["clock", "chance", "domain::money::units"],
        "the framework supervises any actor and knows none of our types",
    ),
    never("web", "actors", &["actors::live_hub", "actors::supervise"], "the worker may be another process"),
    only_from("simulator", &["cli", "app"], "the bot does not know that a simulator exists"),
];

#[derive(Debug)]
pub struct Rule {
    kind: Kind,
    why: &'static str,
}

#[derive(Debug)]
enum Kind {
    Only { part: &'static str, may: &'static [&'static str] },
    Never { part: &'static str, other: &'static str, but: &'static [&'static str] },
    OnlyFrom { part: &'static str, from: &'static [&'static str] },
}

/// `part` imports itself and `may`, nothing else of ours.
pub const fn only(part: &'static str, may: &'static [&'static str], why: &'static str) -> Rule {
    Rule { kind: Kind::Only { part, may }, why }
}

/// `part` does not import `other`, except for the parts in `but`.
pub const fn never(part: &'static str, other: &'static str, but: &'static [&'static str], why: &'static str) -> Rule {
    Rule { kind: Kind::Never { part, other, but }, why }
}

/// No part but those in `from` imports `part`.
pub const fn only_from(part: &'static str, from: &'static [&'static str], why: &'static str) -> Rule {
    Rule { kind: Kind::OnlyFrom { part, from }, why }
}

impl Rule {
    fn allows(&self, from: &str, to: &str) -> bool {
        let is_in = |module: &str, parts: &[&str]| parts.iter().any(|part| lies_in(module, part));
        match self.kind {
            Kind::Only { part, may } => !lies_in(from, part) || lies_in(to, part) || is_in(to, may),
            Kind::Never { part, other, but } => !lies_in(from, part) || !lies_in(to, other) || is_in(to, but),
            Kind::OnlyFrom { part, from: parts } => !lies_in(to, part) || lies_in(from, part) || is_in(from, parts),
        }
    }

    fn parts(&self) -> Vec<&'static str> {
        match self.kind {
            Kind::Only { part, may } => [&[part], may].concat(),
            Kind::Never { part, other, but } => [&[part, other], but].concat(),
            Kind::OnlyFrom { part, from } => [&[part], from].concat(),
        }
    }

    fn sentence(&self) -> String {
        let list = |parts: &[&str]| parts.iter().map(|part| format!("`{part}`")).collect::<Vec<_>>().join(", ");
        let rule = match self.kind {
            Kind::Only { part, may: [] } => format!("`{part}` imports nothing of ours"),
            Kind::Only { part, may } => format!("`{part}` imports nothing of ours but {}", list(may)),
            Kind::Never { part, other, but: [] } => format!("`{part}` does not import `{other}`"),
            Kind::Never { part, other, but } => format!("`{part}` imports nothing of `{other}` but {}", list(but)),
            Kind::OnlyFrom { part, from } => format!("only {} import `{part}`", list(from)),
        };
        format!("{rule}: {}", self.why)
    }
}

fn lies_in(module: &str, part: &str) -> bool {
    module.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Returns a text for each broken rule: its sentence, and below it a line for each import that breaks it.
pub fn wrong_directions(graph: &Graph, rules: &[Rule]) -> Vec<String> {
    let mut broken = Vec::new();
    for rule in rules {
        let mut lines: Vec<String> = graph
            .all()
            .filter(|(from, to, _)| !rule.allows(&graph.modules[*from], &graph.modules[*to]))
            .flat_map(|(from, to, places)| lines_of(from, to, places))
            .collect();
        let is_there = |part: &&str| graph.modules.values().any(|module| lies_in(module, part));
        let missing = rule.parts().into_iter().filter(|part| !is_there(part));
        lines.extend(missing.map(|part| format!("there is no module `{part}`: correct the table of rules")));
        if !lines.is_empty() {
            broken.push(format!("{}\n    {}", rule.sentence(), lines.join("\n    ")));
        }
    }
    broken
}

/// Returns a text for each circle whose files do not all lie in one folder, the largest circle first: its files, a
/// shortest circle among them, and all its imports from one folder to another. Some of these have to go.
pub fn circles_between_folders(graph: &Graph) -> Vec<String> {
    graph
        .circles()
        .iter()
        .filter(|circle| circle.iter().map(|file| folder_of(graph, file)).collect::<BTreeSet<_>>().len() > 1)
        .map(|circle| describe(graph, circle))
        .collect()
}

fn describe(graph: &Graph, circle: &BTreeSet<String>) -> String {
    let crossing: Vec<(&str, &str, &Places)> = graph
        .all()
        .filter(|(from, to, _)| circle.contains(*from) && circle.contains(*to))
        .filter(|(from, to, _)| folder_of(graph, from) != folder_of(graph, to))
        .collect();
    let closed = crossing.iter().filter_map(|(from, to, _)| {
        let mut path = graph.shortest_path(to, from)?;
        path.insert(0, (*from).to_owned());
        Some(path)
    });
    let shortest = closed.min_by_key(Vec::len).unwrap_or_default();
    let steps = shortest.windows(2).flat_map(|step| {
        let places = &graph.edges[&step[0]][&step[1]];
        lines_of(&step[0], &step[1], places).into_iter().next()
    });
    let mut folders: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (from, to, places) in &crossing {
        let pair = (folder_of(graph, from), folder_of(graph, to));
        folders.entry(pair).or_default().extend(lines_of(from, to, places));
    }
    let mut pairs: Vec<_> = folders.into_iter().collect();
    pairs.sort_by_key(|(_, imports)| imports.len());
    let pairs = pairs.iter().map(|((from, to), imports)| {
        format!("    {from} -> {to} ({})\n        {}", imports.len(), imports.join("\n        "))
    });
    format!(
        "a circle of {} files: {}\n  a shortest circle:\n    {}\n  its imports between folders, the fewest first:\n{}",
        circle.len(),
        circle.iter().cloned().collect::<Vec<_>>().join(" "),
        steps.collect::<Vec<_>>().join("\n    "),
        pairs.collect::<Vec<_>>().join("\n"),
    )
}

/// The folder that a file belongs to. `db.rs` and `db/mod.rs` belong to `db/`. `src/` is not a folder of one topic: a
/// file in it, such as `clock.rs`, is a folder by itself.
fn folder_of(graph: &Graph, file: &str) -> String {
    let stem = file.trim_end_matches(".rs");
    let has_folder = || graph.modules.keys().any(|other| other.starts_with(&format!("{stem}/")));
    match parent_of(file) {
        folder if !file.ends_with("/mod.rs") && (folder.is_empty() || has_folder()) => stem.to_owned(),
        folder => folder.to_owned(),
    }
}

/// Returns a line for each place of an edge.
fn lines_of(from: &str, to: &str, places: &Places) -> Vec<String> {
    places.iter().map(|place| format!("src/{from}:{} imports `{}` from src/{to}", place.line, place.path)).collect()
}

/// Returns the folders that hold more than `FILES_IN_A_FOLDER_MAX` files; files in their subfolders do not count.
pub fn crowded_folders(sources: &Sources) -> Vec<String> {
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for file in sources.keys() {
        *folders.entry(parent_of(file)).or_default() += 1;
    }
    folders.retain(|_, files| *files > FILES_IN_A_FOLDER_MAX);
    folders.iter().map(|(folder, files)| format!("src/{folder} holds {files} files")).collect()
}

/// Returns the files that only tests compile and that lie outside the places for tests.
pub fn misplaced_tests(graph: &Graph) -> Vec<String> {
    let is_in_place =
        |file: &str| file.starts_with("testkit/") || file.split('/').any(|part| part == "tests" || part == "tests.rs");
    graph.test_only.iter().filter(|file| !is_in_place(file)).map(|file| format!("src/{file}")).collect()
}
