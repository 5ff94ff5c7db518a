use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use rustls::server::Acceptor;

use super::http_client;

const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the start of one TLS handshake and returns the protocols that the client offers.
fn offered(listener: &TcpListener) -> Vec<String> {
    let (mut socket, _) = listener.accept().unwrap();
    let mut acceptor = Acceptor::default();
    loop {
        acceptor.read_tls(&mut socket).unwrap();
        if let Some(accepted) = acceptor.accept().map_err(|(error, _)| error).unwrap() {
            let hello = accepted.client_hello();
            let names = hello.alpn().into_iter().flatten();
            return names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        }
    }
}

#[actix_web::test]
async fn a_server_is_offered_http_1_1_and_no_http_2() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(offered(&listener)).unwrap());
    // The server hangs up after the first message of the handshake.
    http_client(PATIENCE).get(url).send().await.unwrap_err();
    assert_eq!(receiver.recv().unwrap(), ["http/1.1"]);
}

/// Counts the requests that arrive, and sends each to `/new`.
async fn redirect(count: web::Data<AtomicUsize>) -> HttpResponse {
    count.fetch_add(1, Ordering::Relaxed);
    HttpResponse::Found().insert_header(("location", "/new")).finish()
}

#[actix_web::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let count = web::Data::new(AtomicUsize::new(0));
    let shared = count.clone();
    let app = move || App::new().app_data(shared.clone()).default_service(web::to(redirect));
    let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/old", server.addrs()[0]);
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    let answer = http_client(PATIENCE).get(url).send().await.unwrap();
    assert_eq!(answer.status(), 302);
    assert_eq!(count.load(Ordering::Relaxed), 1);
    handle.stop(false).await;
}
