//! The shape of the source tree: which part may import which, no circles, small folders, tests apart from the program.

mod cases;
mod graph;
mod rules;
mod source;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use graph::Graph;
use source::Sources;

static SOURCES: LazyLock<Sources> = LazyLock::new(|| {
    let mut sources = Sources::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
                sources.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    sources
});

static GRAPH: LazyLock<Graph> = LazyLock::new(|| Graph::of(&SOURCES));

#[track_caller]
fn assert_none(broken: &[String], what_to_do: &str) {
    assert!(broken.is_empty(), "{what_to_do}\n\n{}\n", broken.join("\n"));
}

#[test]
fn each_part_imports_only_the_parts_below_it() {
    let broken = rules::wrong_directions(&GRAPH, rules::RULES);
    assert_none(&broken, "move the name down to a part that both may import, or pass the value as an argument");
}

#[test]
fn no_files_of_different_folders_import_each_other_in_a_circle() {
    let broken = rules::circles_between_folders(&GRAPH);
    assert_none(&broken, "cut each circle: move what both sides need into a file that imports neither");
}

#[test]
fn no_folder_is_too_full_to_be_read() {
    let broken = rules::crowded_folders(&SOURCES);
    assert_none(&broken, &format!("split each folder of more than {} files by topic", rules::FILES_IN_A_FOLDER_MAX));
}

#[test]
fn files_for_tests_lie_apart_from_the_program() {
    let broken = rules::misplaced_tests(&GRAPH);
    assert_none(&broken, "move each to a folder `tests`, to src/testkit/ or to a file `tests.rs`");
}

/// Without imports every rule holds: this test fails when the reader stops seeing them.
#[test]
fn the_whole_tree_is_read() {
    let undeclared: Vec<String> = GRAPH.undeclared.iter().map(|file| format!("src/{file}")).collect();
    assert_none(&undeclared, "no `mod` declares these files: declare each or delete it");
    let (files, edges) = (GRAPH.modules.len(), GRAPH.all().count());
    assert!(files > 200 && edges > 1_000, "{files} files and {edges} imports are too few: the reader is broken");
    assert!(GRAPH.imports("main.rs").count() > 0, "an import by the name of the crate is not seen");
}
