//! The files in `docker/`: nginx as it is configured there, in front of the program's processes, and settings that
//! exist. What the engine of Docker makes of them is not tried here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::cookie::Cookie;
use awc::{Client, Connector};
use compose_spec::Compose;
use compose_spec::service::volumes::{Mount, into_long_iter};
use polymarketspy::config::{NAMES, Settings, Sources};
use polymarketspy::domain::event::Side;
use polymarketspy::simulator::github::{CLIENT_ID, CLIENT_SECRET};
use polymarketspy::simulator::{Fill, NewMarket};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};

use super::bot::{Stage, attempt_arrives, eventually};
use super::process::Process;
use super::sign_in::Visitor;

const NGINX: &str = include_str!("../../docker/nginx.conf");
const COMPOSE: &str = include_str!("../../docker/docker-compose.yml");
const REDIS: &str = include_str!("../../docker/redis.conf");
const EXAMPLE: &str = include_str!("../../docker/.env.example");
const DOCKERFILE: &str = include_str!("../../docker/Dockerfile");
const IGNORED: &str = include_str!("../../docker/Dockerfile.dockerignore");
const HEALTHY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/healthy");

/// A certificate for this machine that is its own root.
const CERTIFICATE: &str = "[req]
distinguished_name = name
x509_extensions = more
prompt = no
[name]
CN = localhost
[more]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1, DNS:localhost
";

/// nginx with the configuration of `docker/`, on ports and in a folder of the test's own.
struct Nginx {
    child: Child,
    folder: tempfile::TempDir,
    http: u16,
    https: u16,
}

impl Nginx {
    fn before(web: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (http, https) = (free_port(), free_port());
        make_certificate(folder.path());
        std::fs::write(folder.path().join("nginx.conf"), configuration(folder.path(), http, https, web)).unwrap();
        let checked = nginx(folder.path()).arg("-t").output();
        let checked = checked.expect("nginx is not installed: run `scripts/test`, which installs it");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let child = nginx(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = Self { child, folder, http, https };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", https)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "nginx did not start: {}", started.read("error.log"));
            std::thread::sleep(Duration::from_millis(10));
        }
        started
    }

    fn base(&self) -> String {
        format!("https://127.0.0.1:{}", self.https)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// A browser at this address that trusts the certificate, and says that it is somebody else.
    fn browser(&self, address: &str) -> Client {
        let root = CertificateDer::from_pem_file(self.folder.path().join("fullchain.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let address: IpAddr = address.parse().unwrap();
        let connector = Connector::new().rustls_0_23(Arc::new(tls)).local_address(address);
        Client::builder()
            .connector(connector)
            .disable_redirects()
            .timeout(Duration::from_secs(30))
            .add_default_header(("X-Real-IP", "203.0.113.9"))
            .finish()
    }
}

/// Its workers end only when it is asked, not when it is killed.
impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn nginx(folder: &Path) -> Command {
    let mut command = Command::new("/usr/sbin/nginx");
    command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    command
}

/// The file itself: only who it runs as, ports, the name of the web process and paths are the test's.
fn configuration(folder: &Path, http: u16, https: u16, web: u16) -> String {
    let folder_name = folder.display();
    // The folder is its maker's alone.
    let user = if std::fs::metadata(folder).unwrap().uid() == 0 { "user root;" } else { "" };
    let replaced = [
        ("/tmp/", format!("{folder_name}/")),
        ("user nginx;", user.to_owned()),
        ("/dev/stderr", format!("{folder_name}/error.log")),
        ("/dev/stdout", format!("{folder_name}/access.log")),
        ("/var/www/acme", format!("{folder_name}/acme")),
        ("/etc/letsencrypt/live/polymarketspy", folder_name.to_string()),
        ("listen 80 ", format!("listen 127.0.0.1:{http} ")),
        ("listen 443 ", format!("listen 127.0.0.1:{https} ")),
        ("https://$host$", format!("https://$host:{https}$")),
        ("http://web:8080", format!("http://127.0.0.1:{web}")),
    ];
    replaced.iter().fold(NGINX.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

fn make_certificate(folder: &Path) {
    std::fs::write(folder.join("certificate.conf"), CERTIFICATE).unwrap();
    let made = Command::new("openssl")
        .current_dir(folder)
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(' '))
        .args("-config certificate.conf -keyout privkey.pem -out fullchain.pem".split(' '))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What the health check of an image says.
fn is_healthy(port: u16, path: &str) -> bool {
    let asked = Command::new(HEALTHY).args([&port.to_string(), path]).stderr(Stdio::null()).status();
    asked.unwrap().success()
}

/// Worker and web, set as in docker-compose.yml but for where they listen and whom they ask.
fn start(stage: &Stage, base: &str, web: u16, health: u16) -> [Process; 2] {
    let (bind, health_bind) = (format!("127.0.0.1:{web}"), format!("127.0.0.1:{health}"));
    let (github, secret) = (stage.exchange.github_base(), "s".repeat(64));
    let settings = [
        ("BIND", bind.as_str()),
        ("PUBLIC_URL", base),
        ("REAL_IP_HEADER", "X-Real-IP"),
        ("SESSION_SECRET", &secret),
        ("GITHUB_CLIENT_ID", CLIENT_ID),
        ("GITHUB_CLIENT_SECRET", CLIENT_SECRET),
        ("GITHUB_BASE_URL", &github),
        ("ADMIN_EMAIL", "ada@example.org"),
    ];
    [
        Process::start_set(stage, &["run", "--role", "worker"], &[("HEALTH_BIND", health_bind.as_str())]),
        Process::start_set(stage, &["run", "--role", "web"], &settings),
    ]
}

async fn get(client: &Client, url: String) -> (u16, String, String) {
    let mut answer = client.get(url).send().await.unwrap();
    let location = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = answer.body().await.unwrap();
    (answer.status().as_u16(), location, String::from_utf8_lossy(&body).into_owned())
}

#[actix::test]
async fn behind_nginx_people_come_in_by_https_and_pages_grow() {
    let stage = Stage::shared().await;
    let (_, wallet) = stage.follow("leader").await;
    let market = stage.exchange.world(|world| world.add_market(NewMarket::binary("rain")));
    let (web, health) = (free_port(), free_port());
    let nginx = Nginx::before(web);
    let base = nginx.base();
    assert!(!is_healthy(web, "/api/health") && !is_healthy(health, "/health"), "nobody is there yet");
    let _processes = start(&stage, &base, web, health);
    let both = async || (is_healthy(web, "/api/health") && is_healthy(health, "/health")).then_some(());
    eventually("both health checks", both).await;
    assert!(!is_healthy(health, "/nothing"));

    // Plain http leads to https, and has a certificate's challenges.
    let (plain, client) = (format!("http://127.0.0.1:{}", nginx.http), nginx.browser("127.0.0.9"));
    let (status, location, _) = get(&client, format!("{plain}/trades?user=1")).await;
    assert_eq!((status, location), (301, format!("{base}/trades?user=1")));
    let challenges = nginx.folder.path().join("acme/.well-known/acme-challenge");
    std::fs::create_dir_all(&challenges).unwrap();
    std::fs::write(challenges.join("token"), "proof").unwrap();
    let (status, _, proof) = get(&client, format!("{plain}/.well-known/acme-challenge/token")).await;
    assert_eq!((status, proof.as_str()), (200, "proof"));
    assert_eq!(get(&client, format!("{plain}/alive")).await.0, 200);

    // What an answer says of itself is said once, and the session's cookie is for https and this name alone.
    let away = client.get(format!("{base}/login/github")).send().await.unwrap();
    for name in ["strict-transport-security", "content-security-policy", "x-frame-options", "x-content-type-options"] {
        assert_eq!(away.headers().get_all(name).count(), 1, "{name}");
    }
    let cookie = away.cookies().unwrap()[0].clone();
    assert_eq!((cookie.name(), cookie.path(), cookie.domain()), ("__Host-polymarketspy", Some("/"), None));
    assert_eq!((cookie.secure(), cookie.http_only()), (Some(true), Some(true)));

    // The whole sign-in. The audit log has the address that nginx saw, and not the one that the client made up.
    let visitor = Visitor::with(&client, &base, "ada").await;
    assert!(visitor.came_in);
    let signed_in = stage.db.audits(Some("sign_in"), None, 10).await.unwrap();
    let [row] = signed_in.as_slice() else { panic!("{signed_in:?}") };
    assert_eq!(row.audit.after_json.as_deref(), Some(r#"{"address":"127.0.0.9"}"#));

    // A page that stays open, and a download.
    let session = Cookie::new("__Host-polymarketspy", visitor.cookie);
    let socket = client
        .ws(format!("{base}/ws/live?topics=attempts").replacen("https", "wss", 1))
        .origin(&base)
        .cookie(session.clone())
        .connect();
    let (_, mut frames) = socket.await.unwrap();
    let fill = Fill::taker(&wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 1_000_000_000);
    stage.exchange.world(|world| world.push_fill(fill).unwrap());
    attempt_arrives(&mut frames).await;
    let mut export = client.get(format!("{base}/export/attempts.csv")).cookie(session.clone()).send().await.unwrap();
    assert_eq!(export.status(), 200);
    assert!(String::from_utf8_lossy(&export.body().await.unwrap()).contains("EXEC_GLOBAL"));

    // A name that is not ours.
    let foreign = client.get(&base).insert_header(("Host", "evil.example")).cookie(session).send().await.unwrap();
    assert_eq!(foreign.status(), 421);

    // What nginx wrote down lets nobody in.
    let log = nginx.read("access.log");
    assert!(log.contains("\"GET /login/github/callback\" 303"), "{log}");
    assert!(!visitor.held.iter().any(|held| log.contains(held)), "{log}");
}

#[actix::test]
async fn whoever_hurries_at_the_door_waits_before_the_program_hears_of_it() {
    // Nobody is behind it: what nginx lets through ends as 502.
    let nginx = Nginx::before(free_port());
    let (hasty, other) = (nginx.browser("127.0.0.10"), nginx.browser("127.0.0.11"));
    let mut n_passed = 0;
    while n_passed < 20 && get(&hasty, format!("{}/login", nginx.base())).await.0 == 502 {
        n_passed += 1;
    }
    // One more for every three seconds that a busy machine took.
    assert!((10..=12).contains(&n_passed), "{n_passed}");
    assert_eq!(get(&hasty, format!("{}/login/github", nginx.base())).await.0, 429);
    assert_eq!(get(&hasty, format!("{}/trades", nginx.base())).await.0, 502, "other pages are not counted");
    assert_eq!(get(&other, format!("{}/login", nginx.base())).await.0, 502, "nor other people");
}

/// The store with its file from `docker/`, until the test ends.
struct Store {
    child: Child,
    port: u16,
}

impl Store {
    fn start(folder: &Path) -> Self {
        let port = free_port();
        let file = folder.join("redis.conf");
        let text = REDIS.replace("dir /data", &format!("dir {}", folder.display()));
        let text = text.replace("bind * -::*", "bind 127.0.0.1").replace("port 6379", &format!("port {port}"));
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(file).args(["--requirepass", "hunter2"]).stdout(Stdio::null());
        let child = command.spawn().expect("redis-server is not installed: run `scripts/test`, which installs it");
        Self { child, port }
    }

    async fn ask(&self, password: &str, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(format!("redis://:{password}@127.0.0.1:{}/", self.port))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[actix::test]
async fn the_store_wants_its_password_and_keeps_what_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::start(folder.path());
    eventually("the store", async || store.ask("hunter2", &["PING"]).await.ok()).await;
    assert!(store.ask("another", &["PING"]).await.is_err());
    store.ask("hunter2", &["SET", "session", "kept"]).await.unwrap();
    // What is a second old survives even a kill.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    drop(store);
    let store = Store::start(folder.path());
    let kept = eventually("the store", async || store.ask("hunter2", &["GET", "session"]).await.ok()).await;
    assert_eq!(kept, redis::Value::BulkString(b"kept".to_vec()));
    let policy = store.ask("hunter2", &["CONFIG", "GET", "maxmemory-policy"]).await.unwrap();
    assert!(format!("{policy:?}").contains("noeviction"), "{policy:?}");
}

/// `NAME=value` of every line of `.env.example`.
fn example() -> BTreeMap<&'static str, &'static str> {
    let lines = EXAMPLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once('=').expect(line)).collect()
}

/// The lines of one service, without their two levels.
fn service(name: &str) -> Vec<&'static str> {
    let head = format!("  {name}:");
    let lines = COMPOSE.lines().skip_while(move |line| *line != head).skip(1);
    lines.take_while(|line| line.is_empty() || line.starts_with("    ")).filter_map(|line| line.get(4..)).collect()
}

/// The settings that a service is given, as they are written.
fn given(name: &str) -> BTreeMap<&'static str, &'static str> {
    let lines = service(name).into_iter().skip_while(|line| *line != "environment:").skip(1);
    let lines = lines.take_while(|line| line.starts_with("  ")).map(str::trim);
    lines.filter(|line| !line.starts_with('#')).map(|line| line.split_once(": ").expect(line)).collect()
}

/// The names that a text takes from `.env`, and whether it must have them.
fn asked(text: &str) -> Vec<(&str, bool)> {
    let parts = text.split("${").skip(1).map(|rest| rest.split_once('}').expect(rest).0);
    parts.map(|part| part.split_once(':').expect(part)).map(|(name, rest)| (name, rest.starts_with('?'))).collect()
}

/// What compose makes of a text; whatever must be given and has no example is 64 letters.
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
fn compose_and_its_example_name_the_settings_there_are() {
    let example = example();
    let taken: BTreeSet<&str> = asked(COMPOSE).into_iter().map(|(name, _)| name).collect();
    assert_eq!(taken, example.keys().copied().collect(), "what is taken from .env, and what the example explains");
    let users = EXAMPLE.lines().find_map(|line| line.strip_prefix("# FOLLOW=")).expect("users to begin with");
    let sources = Sources::from_flags([("FOLLOW", users.to_owned())].into());
    assert_eq!(Settings::parse(&sources).unwrap().follow.traders.len(), 3);
    let (worker, web) = (given("worker"), given("web"));
    let named: BTreeSet<&str> = worker.keys().chain(web.keys()).copied().collect();
    assert_eq!(named, NAMES.iter().copied().collect(), "what the processes are given, and what there is");

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
    assert_eq!(worker.health.bind, Some("127.0.0.1:8081".parse().unwrap()), "where its health check asks");
    assert!(worker.web.github.is_none() && worker.web.session_secret.is_none(), "it needs none of the door's secrets");
    assert_eq!(web.web.bind, "0.0.0.0:8080".parse().unwrap());
    assert_eq!(web.web.real_ip_header.unwrap(), "x-real-ip");
    assert!(web.web.github.is_some() && web.web.admin_email.is_some() && web.web.public_url.is_some());
}

/// Reads a compose file as the specification wants it: merged, every key known, every value of its type, and whatever
/// is named is there.
fn composed(text: &str) -> Result<Compose, String> {
    let compose = Compose::options().apply_merge(true).from_yaml_str(text).map_err(|error| error.to_string())?;
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
    assert!(compose.services.values().all(|service| service.read_only), "what is merged into them arrives");
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
    for line in ["restart: always", "read_only: true", "cap_drop: [ALL]", "no-new-privileges:true"] {
        assert!(COMPOSE.split("services:").next().unwrap().contains(line), "{line}");
    }
}

/// What the build copies from the repository.
fn copied() -> Vec<&'static str> {
    let lines = DOCKERFILE.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from"));
    let words = lines.flat_map(|line| {
        let words: Vec<&str> = line.split(' ').skip(1).filter(|word| !word.starts_with("--")).collect();
        words[..words.len() - 1].to_vec()
    });
    words.collect()
}

#[test]
fn the_build_is_given_every_file_that_it_copies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for source in copied() {
        assert!(root.join(source).exists(), "{source}");
        assert!(IGNORED.lines().any(|line| line.strip_prefix('!') == Some(source)), "{source} is kept from the build");
    }
}

/// Every file under `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The first text in quotes after each `mark`.
fn quoted<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(mark).skip(1).filter_map(|rest| rest.split('"').nth(1))
}

/// A file that the compiler puts into the program is missed by a build that was not given it, and by no other.
#[test]
fn the_build_is_given_every_file_that_becomes_part_of_the_program() {
    let (root, copied) = (Path::new(env!("CARGO_MANIFEST_DIR")), copied());
    let mut n_included = 0;
    for source in files(&root.join("src")) {
        let text = std::fs::read_to_string(&source).unwrap_or_default();
        let near = source.parent().unwrap();
        let included = ["include_str!(", "include_bytes!("].into_iter().flat_map(|mark| quoted(&text, mark));
        let embedded = quoted(&text, "#[folder = ").map(|folder| root.join(folder));
        for path in included.map(|path| near.join(path)).chain(embedded) {
            // A name may go on behind the quotes, but its folder is there.
            let folder = if path.exists() { path.canonicalize() } else { path.parent().unwrap().canonicalize() };
            let folder = folder.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let given = copied.iter().any(|given| folder.starts_with(root.canonicalize().unwrap().join(given)));
            assert!(given, "{} takes {}, which is not copied", source.display(), path.display());
            n_included += 1;
        }
    }
    assert!(n_included > 20, "includes are found where they are: {n_included}");
}

/// The images have a libc and nothing else; so has every server on which the program alone is put.
#[test]
fn the_program_needs_no_library_but_those_of_libc() {
    let asked = Command::new("ldd").arg(env!("CARGO_BIN_EXE_polymarketspy")).output().unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let text = String::from_utf8(asked.stdout).unwrap();
    // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`; the loader has a path in place of a name.
    let files = text.lines().filter_map(|line| line.split_whitespace().next());
    let names: BTreeSet<&str> = files.filter_map(|file| file.rsplit('/').next()?.split(".so").next()).collect();
    assert!(names.contains("libc"), "{text}");
    let expected = ["libc", "libgcc_s", "libm", "linux-vdso", "ld-linux-x86-64", "ld-linux-aarch64"];
    let others: Vec<&str> = names.into_iter().filter(|name| !expected.contains(name)).collect();
    assert!(others.is_empty(), "it needs {others:?}: {text}");
}
