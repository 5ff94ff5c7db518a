//! The files in `docker/`: their settings and keys exist, their services are hardened, and the build gets every file
//! that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use compose_spec::Compose;
use compose_spec::service::volumes::{Mount, into_long_iter};
use polymarketspy::config::{NAMES, Settings, Sources};

const COMPOSE: &str = include_str!("../../../../docker/docker-compose.yml");
const EXAMPLE: &str = include_str!("../../../../docker/.env.example");
const DOCKERFILE: &str = include_str!("../../../../docker/Dockerfile");
const IGNORED: &str = include_str!("../../../../docker/Dockerfile.dockerignore");

/// Returns name and value of every line of `.env.example`.
fn example() -> BTreeMap<&'static str, &'static str> {
    let lines = EXAMPLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once('=').expect(line)).collect()
}

/// Returns the lines of one service without their indentation of two levels.
fn service(name: &str) -> Vec<&'static str> {
    let head = format!("  {name}:");
    let lines = COMPOSE.lines().skip_while(move |line| *line != head).skip(1);
    lines.take_while(|line| line.is_empty() || line.starts_with("    ")).filter_map(|line| line.get(4..)).collect()
}

/// Returns the environment of a service as the file has it.
fn given(name: &str) -> BTreeMap<&'static str, &'static str> {
    let lines = service(name).into_iter().skip_while(|line| *line != "environment:").skip(1);
    let lines = lines.take_while(|line| line.starts_with("  ")).map(str::trim);
    lines.filter(|line| !line.starts_with('#')).map(|line| line.split_once(": ").expect(line)).collect()
}

/// Returns the names that a text takes from `.env`, and whether each is required.
fn asked(text: &str) -> Vec<(&str, bool)> {
    let parts = text.split("${").skip(1).map(|rest| rest.split_once('}').expect(rest).0);
    parts.map(|part| part.split_once(':').expect(part)).map(|(name, rest)| (name, rest.starts_with('?'))).collect()
}

/// Substitutes variables as Compose does. A required variable without an example becomes 64 letters.
fn filled(text: &str, example: &BTreeMap<&str, &str>) -> String {
    asked(text).into_iter().fold(text.to_owned(), |text, (name, needed)| {
        let value = match (example[name], needed) {
            ("", true) => "a".repeat(64),
            (value, _) => value.to_owned(),
        };
        let begun = text.find("${").unwrap();
        let end = begun + text[begun..].find('}').unwrap();
        format!("{}{value}{}", &text[..begun], &text[end + 1..])
    })
}

#[test]
fn compose_and_its_example_name_every_setting_and_no_other() {
    let example = example();
    let taken: BTreeSet<&str> = asked(COMPOSE).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        taken,
        example.keys().copied().collect(),
        "names used by the compose files, and names in `.env.example`"
    );
    let users = EXAMPLE.lines().find_map(|line| line.strip_prefix("# FOLLOW=")).expect("at least one user is named");
    let sources = Sources::from_flags([("FOLLOW", users.to_owned())].into());
    assert_eq!(Settings::parse(&sources).unwrap().follow.traders.len(), 3);
    let (worker, web) = (given("worker"), given("web"));
    let named: BTreeSet<&str> = worker.keys().chain(web.keys()).copied().collect();
    assert_eq!(named, NAMES.iter().copied().collect(), "settings that the services get, and settings of the program");

    let parsed = |given: &BTreeMap<&'static str, &'static str>| {
        let flags = given.iter().map(|(name, text)| (*name, filled(text, &example))).collect();
        Settings::parse(&Sources::from_flags(flags)).unwrap()
    };
    let (worker, web) = (parsed(&worker), parsed(&web));
    for settings in [&worker, &web] {
        let password = "a".repeat(64);
        let database = format!("postgres://polymarketspy:{password}@db/polymarketspy");
        assert_eq!(settings.database.url.reveal(), database);
        assert_eq!(settings.redis.url.as_ref().unwrap().reveal(), format!("redis://:{password}@redis/"));
    }
    assert_eq!(worker.health.bind, Some("127.0.0.1:8081".parse().unwrap()), "the port of the health check");
    assert!(
        worker.web.github.is_none() && worker.web.session_secret.is_none(),
        "the worker gets no secret of the sign-in"
    );
    assert_eq!(web.web.bind, "0.0.0.0:8080".parse().unwrap());
    assert_eq!(web.web.real_ip_header.unwrap(), "x-real-ip");
    assert!(web.web.github.is_some() && web.web.admin_email.is_some() && web.web.public_url.is_some());
}

/// Parses a compose file strictly: merged, every key known, every value of the right type, and every name that is used
/// is defined.
///
/// The reader knows `name:tag` and `name@digest`, but not both together, which the engine takes: the digest is left out.
fn composed(text: &str) -> Result<Compose, String> {
    let parts = text.split("@sha256:");
    let text = parts.enumerate().map(|(i, part)| if i == 0 { part } else { &part[64..] }).collect::<String>();
    let compose = Compose::options().apply_merge(true).from_yaml_str(&text).map_err(|error| error.to_string())?;
    compose.validate_all().map_err(|error| error.to_string())?;
    for service in compose.services.values() {
        let mut needed = service.depends_on.as_long().into_iter().flatten().map(|(name, _)| name);
        if let Some(name) = needed.find(|name| !compose.services.contains_key(*name)) {
            return Err(format!("there is no service {name}"));
        }
        let mut named = into_long_iter(service.volumes.clone()).filter_map(|mount| match mount {
            Mount::Volume(volume) => volume.source,
            _ => None,
        });
        if let Some(name) = named.find(|name| !compose.volumes.contains_key(name)) {
            return Err(format!("there is no volume {name}"));
        }
    }
    Ok(compose)
}

#[test]
fn compose_understands_every_line_of_its_file() {
    let text = filled(COMPOSE, &example());
    let compose = composed(&text).unwrap();
    assert!(compose.services.values().all(|service| service.read_only), "the merged keys are present");
    for (right, wrong) in [
        ("read_only: true", "readonly: true"),
        ("read_only: true", "read_only: often"),
        ("retries: 5", "retries: five"),
        ("interval: 5s", "interval: soon"),
        ("restart: always", "restart: allways"),
        ("cap_drop: [ALL]", "cap_drop: ALL"),
        ("condition: service_healthy", "condition: service_healty"),
        ("depends_on:\n      db:", "depends_on:\n      dbb:"),
        ("target: worker", "tarket: worker"),
        ("80:80", "80:http"),
        ("internal: true", "internl: true"),
        ("networks: [inside]", "networks: [insde]"),
        ("redis:/data", "rediss:/data"),
        ("volumes:\n  db:", "volume:\n  db:"),
    ] {
        assert!(text.contains(right), "{right}");
        assert!(composed(&text.replace(right, wrong)).is_err(), "{wrong} passes");
    }
}

#[test]
fn every_service_is_hardened_and_watched_and_only_nginx_is_published() {
    for name in ["db", "redis", "worker", "web", "backup", "nginx"] {
        let lines = service(name);
        assert!(lines.contains(&"<<: *hardened"), "{name}");
        let image =
            DOCKERFILE.split("\nFROM ").find(|image| image.lines().next().unwrap().ends_with(&format!(" AS {name}")));
        let is_watched = image.is_some_and(|image| image.contains("\nHEALTHCHECK "));
        assert!(lines.contains(&"healthcheck:") || is_watched, "{name}");
        let published: Vec<&&str> = lines.iter().filter(|line| line.starts_with("ports:")).collect();
        let wanted: &[&&str] = if name == "nginx" { &[&r#"ports: ["80:80", "443:443"]"#] } else { &[] };
        assert_eq!(published, wanted, "{name}");
    }
    for line in [
        "restart: always",
        "read_only: true",
        "cap_drop: [ALL]",
        "no-new-privileges:true",
        "mem_limit: ",
        "pids_limit: ",
        "nofile: ",
    ] {
        assert!(COMPOSE.split("services:").next().unwrap().contains(line), "{line}");
    }
}

/// A tag can be moved to another image; a digest cannot.
#[test]
fn images_of_others_are_named_by_their_digest() {
    let froms = DOCKERFILE.lines().filter_map(|line| line.strip_prefix("FROM "));
    let images = COMPOSE.lines().filter_map(|line| line.trim().strip_prefix("image: "));
    let names = froms.filter_map(|from| from.split(' ').next()).chain(images);
    let others: Vec<&str> = names.filter(|name| name.contains(':')).collect();
    assert_eq!(others.len(), 6, "{others:?}");
    for name in others {
        let digest = name.split_once("@sha256:").map(|(_, digest)| digest);
        assert!(
            digest.is_some_and(|digest| digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())),
            "{name}"
        );
    }
}

/// Returns the `key=value` lines of a unit, but for those whose key is in `but`.
fn unit(name: &str, but: &[&str]) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| line.contains('=') && !line.starts_with('#'));
    lines.filter(|line| !but.contains(&line.split('=').next().unwrap())).map(str::to_owned).collect()
}

#[test]
fn the_backup_unit_is_as_hardened_as_the_bot_and_gets_none_of_its_secrets() {
    let of_the_bot = [
        "Restart",
        "RestartSec",
        "LimitNOFILE",
        "TimeoutStopSec",
        "StartLimitIntervalSec",
        "Wants",
        "After",
        "WantedBy",
    ];
    let own = ["Description", "ExecStart", "EnvironmentFile"];
    let wanted = unit("polymarketspy.service", &[&own[..], &of_the_bot].concat());
    let missing: Vec<String> = wanted.difference(&unit("polymarketspy-backup.service", &[])).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(unit("polymarketspy-backup.service", &[]).contains("EnvironmentFile=-/etc/polymarketspy-backup.env"));
}

/// Returns the paths that the build copies from the repository.
fn copied() -> Vec<&'static str> {
    let lines = DOCKERFILE.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from"));
    let words = lines.flat_map(|line| {
        let words: Vec<&str> = line.split(' ').skip(1).filter(|word| !word.starts_with("--")).collect();
        words[..words.len() - 1].to_vec()
    });
    words.collect()
}

#[test]
fn the_build_context_has_every_file_that_the_build_copies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for source in copied() {
        assert!(root.join(source).exists(), "{source}");
        assert!(IGNORED.lines().any(|line| line.strip_prefix('!') == Some(source)), "{source} is kept from the build");
    }
}

/// Returns every file under `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Returns the first quoted text after each `mark`.
fn quoted<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(mark).skip(1).filter_map(|rest| rest.split('"').nth(1))
}

/// A file that the compiler embeds must be in the build context: only the build of the image would miss it.
#[test]
fn the_build_context_has_every_file_that_the_program_embeds() {
    let (root, copied) = (Path::new(env!("CARGO_MANIFEST_DIR")), copied());
    let mut n_included = 0;
    for source in files(&root.join("src")) {
        let text = std::fs::read_to_string(&source).unwrap_or_default();
        let near = source.parent().unwrap();
        let included = ["include_str!(", "include_bytes!("].into_iter().flat_map(|mark| quoted(&text, mark));
        let embedded = quoted(&text, "#[folder = ").map(|folder| root.join(folder));
        for path in included.map(|path| near.join(path)).chain(embedded) {
            // The name may go on after the quoted text, but its folder exists.
            let folder = if path.exists() { path.canonicalize() } else { path.parent().unwrap().canonicalize() };
            let folder = folder.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let given = copied.iter().any(|given| folder.starts_with(root.canonicalize().unwrap().join(given)));
            assert!(given, "{} takes {}, which is not copied", source.display(), path.display());
            n_included += 1;
        }
    }
    assert!(n_included > 20, "includes are found where they are: {n_included}");
}

/// The images have a libc and no other library, and so do servers that get only the program.
#[test]
fn the_program_needs_no_library_but_those_of_libc() {
    let asked = Command::new("ldd").arg(env!("CARGO_BIN_EXE_polymarketspy")).output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let text = String::from_utf8(asked.stdout).unwrap();
    // For example `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`. The loader has a path in place of a name.
    let files = text.lines().filter_map(|line| line.split_whitespace().next());
    let names: BTreeSet<&str> = files.filter_map(|file| file.rsplit('/').next()?.split(".so").next()).collect();
    assert!(names.contains("libc"), "{text}");
    let expected = ["libc", "libgcc_s", "libm", "linux-vdso", "ld-linux-x86-64", "ld-linux-aarch64"];
    let others: Vec<&str> = names.into_iter().filter(|name| !expected.contains(name)).collect();
    assert!(others.is_empty(), "it needs {others:?}: {text}");
}
