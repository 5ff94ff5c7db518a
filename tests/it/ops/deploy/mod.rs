//! The files in `docker/` at work: nginx with its configuration in front of the processes of the program, and Redis
//! with its own. The Docker engine itself is not tested here.

mod files;

use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::cookie::Cookie;
use awc::{Client, Connector};
use polymarketspy::domain::events::event::Side;
use polymarketspy::simulator::routes::github::{CLIENT_ID, CLIENT_SECRET};
use polymarketspy::simulator::{Fill, NewMarket};
use polymarketspy::testkit::wait::attempt_arrives;
use polymarketspy::testkit::{TestBot, eventually};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};

use crate::recovery::process::Process;
use crate::web::sign_in::CurrentUser;

const NGINX: &str = include_str!("../../../../docker/nginx.conf");
const REDIS: &str = include_str!("../../../../docker/redis.conf");
const HEALTHY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/healthy");

/// The configuration of `openssl` for a self-signed certificate of this machine.
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

/// nginx with the configuration of `docker/`, on free ports and in a temporary folder.
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
        let checked = checked.expect(
            "nginx is not installed: run `scripts/test`, which installs it. \
             In `scripts/test-fast` the path of such a test must contain `on_nginx`",
        );
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

    /// Returns a client at this address that trusts the certificate. Its forwarding headers claim another address.
    #[allow(clippy::disallowed_methods)] // The client of the program trusts no certificate of ours.
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

/// nginx ends its workers on SIGTERM only; killed, it would leave them behind.
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

/// Returns the configuration file with the user, the ports, the name of the web process and the paths of the test.
fn configuration(folder: &Path, http: u16, https: u16, web: u16) -> String {
    let folder_name = folder.display();
    // Only the user that made the folder may read it, so the workers of root's nginx have to run as root too.
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
        ("listen [::]:80 ", format!("listen [::1]:{http} ")),
        ("listen [::]:443 ", format!("listen [::1]:{https} ")),
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

/// Runs the health check of an image; returns whether it passed.
fn is_healthy(port: u16, path: &str) -> bool {
    let asked = Command::new(HEALTHY).args([&port.to_string(), path]).stderr(Stdio::null()).status();
    asked.unwrap().success()
}

/// Starts worker and web with the settings of docker-compose.yml, except for the addresses they listen on and call.
fn start(bot: &TestBot, base: &str, web: u16, health: u16) -> [Process; 2] {
    let (bind, health_bind) = (format!("127.0.0.1:{web}"), format!("127.0.0.1:{health}"));
    let (github, secret) = (bot.exchange.github_base(), "s".repeat(64));
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
        Process::start_set(bot, &["run", "--role", "worker"], &[("HEALTH_BIND", health_bind.as_str())]),
        Process::start_set(bot, &["run", "--role", "web"], &settings),
    ]
}

async fn get(client: &Client, url: String) -> (u16, String, String) {
    let mut answer = client.get(url).send().await.unwrap();
    let location = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = answer.body().await.unwrap();
    (answer.status().as_u16(), location, String::from_utf8_lossy(&body).into_owned())
}

mod on_nginx {
    use super::*;

    #[actix::test]
    async fn behind_nginx_people_sign_in_over_https_and_pages_are_live() {
        let bot = TestBot::shared().await;
        let (_, wallet) = bot.follow("leader").await;
        let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("rain")));
        let (web, health) = (free_port(), free_port());
        let nginx = Nginx::before(web);
        let base = nginx.base();
        assert!(
            !is_healthy(web, "/api/health") && !is_healthy(health, "/health"),
            "no process answers before the start"
        );
        let _processes = start(&bot, &base, web, health);
        let both = async || (is_healthy(web, "/api/health") && is_healthy(health, "/health")).then_some(());
        eventually("both health checks", both).await;
        assert!(!is_healthy(health, "/nothing"));

        // Plain http redirects to https, and serves the challenges of the certificate authority.
        let (plain, client) = (format!("http://127.0.0.1:{}", nginx.http), nginx.browser("127.0.0.9"));
        let (status, location, _) = get(&client, format!("{plain}/trades?user=1")).await;
        assert_eq!((status, location), (301, format!("{base}/trades?user=1")));
        let challenges = nginx.folder.path().join("acme/.well-known/acme-challenge");
        std::fs::create_dir_all(&challenges).unwrap();
        std::fs::write(challenges.join("token"), "proof").unwrap();
        let (status, _, proof) = get(&client, format!("{plain}/.well-known/acme-challenge/token")).await;
        assert_eq!((status, proof.as_str()), (200, "proof"));
        assert_eq!(get(&client, format!("{plain}/alive")).await.0, 200);

        // Each security header occurs once, and the session cookie is limited to https and to this host.
        let away = client.get(format!("{base}/login/github")).send().await.unwrap();
        for name in
            ["strict-transport-security", "content-security-policy", "x-frame-options", "x-content-type-options"]
        {
            assert_eq!(away.headers().get_all(name).count(), 1, "{name}");
        }
        let cookie = away.cookies().unwrap()[0].clone();
        assert_eq!((cookie.name(), cookie.path(), cookie.domain()), ("__Host-polymarketspy", Some("/"), None));
        assert_eq!((cookie.secure(), cookie.http_only()), (Some(true), Some(true)));

        // The whole sign-in. The audit log has the address that nginx saw, not the one that the client claimed.
        let visitor = CurrentUser::with(&client, &base, "ada").await;
        assert!(visitor.came_in);
        let signed_in = bot.db.audits(Some("sign_in"), None, 10).await.unwrap();
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
        bot.exchange.with(|exchange| exchange.push_fill(fill).unwrap());
        attempt_arrives(&mut frames).await;
        let mut export =
            client.get(format!("{base}/export/attempts.csv")).cookie(session.clone()).send().await.unwrap();
        assert_eq!(export.status(), 200);
        assert!(String::from_utf8_lossy(&export.body().await.unwrap()).contains("EXEC_GLOBAL"));

        // A foreign host name.
        let foreign = client.get(&base).insert_header(("Host", "evil.example")).cookie(session).send().await.unwrap();
        assert_eq!(foreign.status(), 421);

        // The access log of nginx holds no secret of a session.
        let log = nginx.read("access.log");
        assert!(log.contains("\"GET /login/github/callback\" 303"), "{log}");
        assert!(!visitor.held.iter().any(|held| log.contains(held)), "{log}");
    }

    #[actix::test]
    async fn nginx_limits_login_requests_per_address() {
        // There is no web process: every request that nginx lets through is answered with 502.
        let nginx = Nginx::before(free_port());
        let (hasty, other) = (nginx.browser("127.0.0.10"), nginx.browser("127.0.0.11"));
        let mut n_passed = 0;
        while n_passed < 20 && get(&hasty, format!("{}/login", nginx.base())).await.0 == 502 {
            n_passed += 1;
        }
        // One more for every three seconds that a busy machine took.
        assert!((10..=12).contains(&n_passed), "{n_passed}");
        assert_eq!(get(&hasty, format!("{}/login/github", nginx.base())).await.0, 429);
        assert_eq!(
            get(&hasty, format!("{}/trades", nginx.base())).await.0,
            502,
            "the limit counts requests to the login pages only"
        );
        assert_eq!(get(&other, format!("{}/login", nginx.base())).await.0, 502, "the limit is per address");
    }

    #[actix::test]
    async fn what_nginx_answers_by_itself_has_security_headers_and_logs_no_code() {
        // There is no web process, so nginx answers by itself.
        let nginx = Nginx::before(free_port());
        let client = nginx.browser("127.0.0.12");
        for path in
            ["/", "/export/attempts.csv", "/login/github/callback?code=c0de5ecret&state=s7a7e", "/login/11nk5ecret"]
        {
            let answer = client.get(format!("{}{path}", nginx.base())).send().await.unwrap();
            assert_eq!(answer.status(), 502, "{path}");
            for (name, value) in [
                ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
                ("strict-transport-security", "max-age=31536000"),
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("cache-control", "no-store"),
            ] {
                let given: Vec<_> = answer.headers().get_all(name).collect();
                assert_eq!(given, [value], "{path} {name}");
            }
        }
        let log = nginx.read("error.log");
        assert!(log.contains("\"GET / HTTP/1.1\""), "the log says that the web process is away: {log}");
        assert!(!log.contains("5ecret") && !log.contains("s7a7e"), "{log}");
        let log = nginx.read("access.log");
        assert!(log.contains("\"GET /login/***\" 502") && !log.contains("5ecret"), "{log}");
    }

    /// Asks with the protocol that `curl` and nginx agree on; returns that and the status.
    fn curl(nginx: &Nginx, words: &[&str], url: &str) -> String {
        let certificate = nginx.folder.path().join("fullchain.pem");
        let mut command = Command::new("curl");
        command.args(["-sS", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"]).args(words).arg("--cacert");
        let asked = command.arg(certificate).arg(url).output().unwrap();
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        String::from_utf8(asked.stdout).unwrap()
    }

    #[test]
    fn browsers_get_http_2_and_ipv6() {
        let nginx = Nginx::before(free_port());
        let url = format!("https://localhost:{}/trades", nginx.https);
        assert_eq!(curl(&nginx, &["-4", "--http2"], &url), "2 502");
        assert_eq!(curl(&nginx, &["-4", "--http1.1"], &url), "1.1 502");
        assert_eq!(curl(&nginx, &["-6", "--http2"], &url), "2 502");
    }

    #[test]
    fn an_address_has_200_requests_in_flight_at_most() {
        // A web process that takes connections and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let nginx = Nginx::before(silent.local_addr().unwrap().port());
        let mut command = Command::new("curl");
        command
            .args("-sS -Z --parallel-immediate --parallel-max 300 --http1.1 --max-time 8 -k -o /dev/null".split(' '));
        command.args(["-w", "%{http_code} "]).arg(format!("https://127.0.0.1:{}/trades?n=[1-205]", nginx.https));
        let answers = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert_eq!(answers.matches("429").count(), 5, "{answers}");
    }
}

/// Redis with its configuration of `docker/`. It ends with the test.
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
        let child = command.spawn().expect(
            "`redis-server` is not installed: run `scripts/test`, which installs it. \
             In `scripts/test-fast` the path of such a test must contain `on_redis`",
        );
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

mod on_redis {
    use super::*;

    #[actix::test]
    async fn redis_requires_its_password_and_keeps_its_data_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::start(folder.path());
        eventually("the store", async || store.ask("hunter2", &["PING"]).await.ok()).await;
        assert!(store.ask("another", &["PING"]).await.is_err());
        store.ask("hunter2", &["SET", "session", "kept"]).await.unwrap();
        // Redis syncs its log every second, so an older write survives a kill.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        drop(store);
        let store = Store::start(folder.path());
        let kept = eventually("the store", async || store.ask("hunter2", &["GET", "session"]).await.ok()).await;
        assert_eq!(kept, redis::Value::BulkString(b"kept".to_vec()));
        let policy = store.ask("hunter2", &["CONFIG", "GET", "maxmemory-policy"]).await.unwrap();
        assert!(format!("{policy:?}").contains("noeviction"), "{policy:?}");
    }
}
