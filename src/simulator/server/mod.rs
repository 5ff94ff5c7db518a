//! The HTTP server: one thread, one port, and a path prefix for each host.

mod chain_socket;
pub(super) mod shared;

use std::{
    net::{SocketAddr, TcpListener},
    thread::JoinHandle,
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::ServerHandle,
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
    rt::{System, time::sleep},
    web::{self, Bytes, Data},
};

use self::shared::Shared;
use super::error::SimulatorError;
use super::http::request::{Host, Request};
use super::state::fault::Wait;

/// How often traders act and blocks are announced.
const TICK: Duration = Duration::from_millis(50);

/// A running server. Dropping it stops it.
pub struct Server {
    pub address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the server's thread and waits until it listens.
    ///
    /// # Errors
    /// [`SimulatorError`] when the operating system refuses the port or the thread.
    pub fn start(shared: Shared) -> Result<Self, SimulatorError> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(SimulatorError::Listen)?;
        let address = listener.local_addr().map_err(SimulatorError::Listen)?;
        let (sender, receiver) = std::sync::mpsc::channel();
        let run = move || {
            let served = System::new().block_on(async move {
                let simulation = shared.clone();
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(Data::new(simulation.clone()))
                        .app_data(web::PayloadConfig::new(4 << 20))
                        .route("/chain", web::get().to(chain_socket::open))
                        .default_service(web::to(answer))
                })
                .workers(1)
                .disable_signals()
                .tcp_nodelay(true)
                .shutdown_timeout(1)
                .listen(listener)?
                .run();
                let ticking = actix_web::rt::spawn(tick(shared));
                if sender.send(server.handle()).is_ok() {
                    server.await?;
                }
                ticking.abort();
                Ok::<(), std::io::Error>(())
            });
            if let Err(error) = served {
                tracing::error!(%error, "the simulator stopped serving");
            }
        };
        let thread = std::thread::Builder::new().name("simulator".to_owned()).spawn(run);
        let thread = thread.map_err(SimulatorError::Thread)?;
        let stopped = |_| SimulatorError::Listen(std::io::ErrorKind::NotConnected.into());
        let handle = receiver.recv().map_err(stopped)?;
        Ok(Self { address, handle, thread: Some(thread) })
    }
}

impl Drop for Server {
    /// Stops the server at once. Requests that still hang are cut, since no test waits for them any more.
    fn drop(&mut self) {
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the simulator's thread panicked");
        }
    }
}

async fn tick(shared: Shared) {
    loop {
        shared.lock().tick();
        sleep(TICK).await;
    }
}

async fn answer(request: HttpRequest, body: Bytes, shared: Data<Shared>) -> HttpResponse {
    let Some((host, path)) = host_of(request.path()) else {
        return HttpResponse::NotFound().finish();
    };
    let request = Request {
        host,
        post: request.method() == actix_web::http::Method::POST,
        path: path.to_owned(),
        query: request.query_string().to_owned(),
        headers: headers_of(&request),
        body: body.to_vec(),
    };
    let (answer, wait) = shared.lock().answer(&request);
    match wait {
        Wait::Not => {}
        Wait::Millis(millis) => sleep(Duration::from_millis(millis)).await,
        Wait::ForEver => std::future::pending().await,
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.content_type(answer.content_type);
    for (name, value) in &answer.headers {
        response.append_header((*name, value.as_str()));
    }
    response.body(answer.body)
}

/// Returns the headers whose value is text.
fn headers_of(request: &HttpRequest) -> Vec<(String, String)> {
    let text =
        |(name, value): (&HeaderName, &HeaderValue)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()));
    request.headers().iter().filter_map(text).collect()
}

/// Splits a path into its host and the path below the host's base address.
fn host_of(path: &str) -> Option<(Host, &str)> {
    let hosts = [("/data", Host::Data), ("/clob", Host::Clob), ("/gamma", Host::Gamma), ("/github", Host::GitHub)];
    hosts.iter().find_map(|(prefix, host)| {
        let rest = path.strip_prefix(prefix)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((*host, rest))
    })
}
