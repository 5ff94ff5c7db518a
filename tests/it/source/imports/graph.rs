//! Which file imports which.
//!
//! An edge leads to the file that defines a name: `use crate::db::Db` leads to `db/connection.rs`, not to the façade
//! `db/mod.rs` that re-exports it. A `use` of a module leads to the files of the names that are taken from it; it leads
//! to the module's own file only when there are none.
//!
//! Not counted: code that only tests compile, and `mod x;`, which declares a child and imports nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::source::{Import, Module, Sources, read};

/// How `main.rs` calls the library.
const CRATE: &str = env!("CARGO_PKG_NAME");

/// The lines of one file that import another.
pub type Places = BTreeSet<Place>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    /// The path as the code has it, such as `super::DbError`.
    pub path: String,
}

#[derive(Debug)]
pub struct Graph {
    /// The module path of each file that ships, such as `actors::supervise`.
    pub modules: BTreeMap<String, String>,
    /// For each importing file the files that it imports.
    pub edges: BTreeMap<String, BTreeMap<String, Places>>,
    /// Files that only tests compile.
    pub test_only: BTreeSet<String>,
    /// Files that no `mod x;` declares.
    pub undeclared: BTreeSet<String>,
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Module(usize),
    /// Something in a module that is not a module.
    Item(usize),
}

impl Target {
    fn module(self) -> usize {
        match self {
            Self::Module(module) | Self::Item(module) => module,
        }
    }
}

impl Graph {
    /// # Panics
    /// When a file does not parse or a `mod x;` has no file.
    pub fn of(sources: &Sources) -> Self {
        let modules = read(sources);
        let mut graph = Self {
            modules: BTreeMap::new(),
            edges: BTreeMap::new(),
            test_only: BTreeSet::new(),
            undeclared: sources.keys().cloned().collect(),
        };
        for module in &modules {
            graph.undeclared.remove(&module.file);
            if !module.is_test_only {
                graph.modules.entry(module.file.clone()).or_insert_with(|| module.path.clone());
            }
        }
        let is_test_only = |module: &&Module| !graph.modules.contains_key(&module.file);
        graph.test_only = modules.iter().filter(is_test_only).map(|module| module.file.clone()).collect();
        let paths = Paths { modules: &modules };
        for here in (0..modules.len()).filter(|here| !modules[*here].is_test_only) {
            for (target, place) in paths.imported(here) {
                graph.add(&modules[here].file, &modules[target], place);
            }
        }
        graph
    }

    fn add(&mut self, from: &str, to: &Module, place: Place) {
        if from != to.file && !to.is_test_only {
            self.edges.entry(from.to_owned()).or_default().entry(to.file.clone()).or_default().insert(place);
        }
    }

    /// Every edge with its places: importing file, imported file.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &Places)> {
        self.edges
            .iter()
            .flat_map(|(from, targets)| targets.iter().map(move |(to, places)| (from.as_str(), to.as_str(), places)))
    }

    pub fn imports(&self, file: &str) -> impl Iterator<Item = &str> {
        self.edges.get(file).into_iter().flat_map(|targets| targets.keys().map(String::as_str))
    }

    /// Returns the shortest chain of imports from one file to another, both included; `None` if there is none.
    pub fn shortest_path(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut before: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(file) = queue.pop_front() {
            for next in self.imports(file) {
                if next == from || before.contains_key(next) {
                    continue;
                }
                before.insert(next, file);
                queue.push_back(next);
            }
        }
        let mut path = vec![to.to_owned()];
        let mut file = to;
        while file != from {
            file = before.get(file)?;
            path.push(file.to_owned());
        }
        path.reverse();
        Some(path)
    }

    /// Returns the circles, the largest first: sets of files that all import each other, directly or through others.
    pub fn circles(&self) -> Vec<BTreeSet<String>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.edges.keys().map(|file| (file.as_str(), self.reached(file))).collect();
        let mut circles: BTreeSet<BTreeSet<String>> = BTreeSet::new();
        for (file, files) in &reached {
            let comes_back = |other: &&&str| reached.get(**other).is_some_and(|back| back.contains(file));
            let circle: BTreeSet<String> = files.iter().filter(comes_back).map(|it| (*it).to_owned()).collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        let mut circles: Vec<BTreeSet<String>> = circles.into_iter().collect();
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }

    /// All files that a file imports, directly or through others.
    fn reached(&self, file: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = self.imports(file).collect();
        while let Some(next) = open.pop() {
            if reached.insert(next) {
                open.extend(self.imports(next));
            }
        }
        reached
    }
}

/// Finds what paths name.
struct Paths<'a> {
    modules: &'a [Module],
}

/// The lookups in progress, each in a module: they end a circle such as two modules with globs of each other.
type Seen = BTreeSet<(usize, String, bool)>;

impl Paths<'_> {
    /// The modules whose names a module imports, with the places.
    fn imported(&self, here: usize) -> Vec<(usize, Place)> {
        let module = &self.modules[here];
        let mut found = Vec::new();
        // Imported modules, and whether a name was taken from each.
        let mut opened: Vec<(&Import, usize, bool)> = Vec::new();
        for import in &module.imports {
            match self.resolve(here, &import.path, &mut Seen::new()) {
                Some(Target::Item(target)) => found.push((target, place(import))),
                Some(Target::Module(target)) => opened.push((import, target, false)),
                None => {}
            }
        }
        for mention in &module.mentions {
            let (first, is_one) = (mention.path[0].as_str(), mention.path.len() == 1);
            let is_relative = matches!(first, "crate" | "self" | "super" | CRATE);
            let is_own = module.children.contains_key(first) || module.items.contains(first);
            if !is_relative && !is_own {
                // An imported type needs no second edge: its `use` made one.
                let is_named = |import: &Import| import.name.as_deref() == Some(first);
                let through = if module.imports.iter().any(is_named) {
                    opened.iter_mut().find(|(import, ..)| is_named(import))
                } else {
                    let mut globs = opened.iter_mut().filter(|(import, ..)| import.name.is_none());
                    globs.find(|(_, target, _)| {
                        let found = self.find(*target, first, is_one, &mut Seen::new());
                        found.is_some_and(|it| !is_one || matches!(it, Target::Item(_)))
                    })
                };
                match through {
                    Some((import, _, is_used)) if !is_one || import.name.is_none() => *is_used = true,
                    _ => continue,
                }
            } else if is_one {
                continue;
            }
            if let Some(target) = self.resolve(here, &mention.path, &mut Seen::new()) {
                let place = Place { line: mention.line, path: mention.path.join("::") };
                found.push((target.module(), place));
            }
        }
        let unused = opened.into_iter().filter(|(.., is_used)| !is_used);
        found.extend(unused.map(|(import, target, _)| (target, place(import))));
        found
    }

    fn resolve(&self, here: usize, path: &[String], seen: &mut Seen) -> Option<Target> {
        let mut at = Target::Module(here);
        for (n, name) in path.iter().enumerate() {
            let Target::Module(module) = at else { return Some(at) };
            at = match name.as_str() {
                "crate" => Target::Module(self.root(module)),
                "self" => at,
                "super" => Target::Module(self.modules[module].parent?),
                name => match self.find(module, name, n + 1 == path.len(), seen) {
                    Some(target) => target,
                    None if n == 0 && name == CRATE => Target::Module(0),
                    None if n == 0 => return None,
                    // Made by a macro there, or re-exported from another crate.
                    None => Target::Item(module),
                },
            };
        }
        Some(at)
    }

    /// Looks a name up in a module: its own names, then its imports. Only the end of a path can be an item.
    fn find(&self, here: usize, name: &str, is_end: bool, seen: &mut Seen) -> Option<Target> {
        if !seen.insert((here, name.to_owned(), is_end)) {
            return None;
        }
        let module = &self.modules[here];
        let child = module.children.get(name).copied().map(Target::Module);
        if child.is_some() && !is_end {
            return child;
        }
        if module.items.contains(name) {
            return Some(Target::Item(here));
        }
        let named = module.imports.iter().filter(|import| import.name.as_deref() == Some(name));
        let mut found = None;
        for import in named {
            // The name of another crate counts as defined where it is imported.
            found = found.or_else(|| self.resolve(here, &import.path, seen).or(Some(Target::Item(here))));
        }
        for import in module.imports.iter().filter(|import| import.name.is_none()) {
            if let (None, None, Some(Target::Module(opened))) = (found, child, self.resolve(here, &import.path, seen)) {
                found = self.find(opened, name, is_end, seen);
            }
        }
        found.or(child)
    }

    fn root(&self, mut module: usize) -> usize {
        while let Some(parent) = self.modules[module].parent {
            module = parent;
        }
        module
    }
}

fn place(import: &Import) -> Place {
    let end = if import.name.is_none() { "::*" } else { "" };
    Place { line: import.line, path: import.path.join("::") + end }
}
