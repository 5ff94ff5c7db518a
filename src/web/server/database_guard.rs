//! Ends a request whose database does not answer: a server behind a broken network neither answers nor refuses, and a
//! page would wait for minutes.

use std::time::Duration;

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web::Data,
};

use super::error::WebError;
use crate::db::Db;

/// A request that takes longer has the database asked whether it answers at all. With the wait for that answer the
/// visitor has the cause within two seconds.
const ASK_AFTER: Duration = Duration::from_millis(1_200);
/// A request that is only slow goes on; the database is asked again this often.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// Middleware: answers with the cause when the database of a slow request does not answer.
///
/// # Errors
/// [`WebError::NoDatabase`]; the error of the request itself.
pub async fn end_without_database<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    // `/api/health` has an answer of its own for this.
    let db = request.app_data::<Data<Db>>().filter(|_| request.path() != "/api/health").cloned();
    let answer = std::pin::pin!(next.call(request));
    let Some(db) = db else { return answer.await };
    tokio::select! {
        answered = answer => answered,
        error = silence(&db) => Err(WebError::from(error).into()),
    }
}

/// Returns once the database has not answered.
async fn silence(db: &Db) -> crate::db::DbError {
    let mut wait = ASK_AFTER;
    loop {
        tokio::time::sleep(std::mem::replace(&mut wait, ASK_EVERY)).await;
        if let Err(error) = db.answers().await
            && error.is_outage()
        {
            return error;
        }
    }
}
