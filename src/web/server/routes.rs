//! All routes of the server, in two lists: open routes, and routes that need a session or a token.

use actix_web::{
    middleware::from_fn,
    web::{self, ServiceConfig},
};

use super::assets;
use super::error::WebError;
use crate::web::auth::sign_in;
use crate::web::auth::user::require_auth;
use crate::web::charts::curves;
use crate::web::config::{page as config, save, what_if::routes as what_if};
use crate::web::export::download;
use crate::web::live::socket;
use crate::web::openapi;
use crate::web::pages::{
    access, control, dead_letters, explanation, follow, market, markets, overview, portfolio, status, trades, user,
    users,
};
use crate::web::shell::theme;
use crate::web::views::{self, activities, attempts, health};

/// Registers routes. Under `cfg(test)` it also keeps their list, for the test that requests each of them.
macro_rules! routes {
    ($(#[$doc:meta])* $register:ident, $list:ident { $($method:ident $path:literal => $handler:path,)+ }) => {
        $(#[$doc])*
        fn $register(app: &mut ServiceConfig) {
            $(app.route($path, web::$method().to($handler));)+
        }

        #[cfg(test)]
        pub(in crate::web) const $list: &[(&str, &str)] = &[$((stringify!($method), $path)),+];
    };
}

routes! {
    /// Routes that need no sign-in.
    open, OPEN {
        get "/assets/{name:.*}" => assets::serve,
        get "/login" => sign_in::page,
        get "/login/github" => sign_in::begin,
        get "/login/github/callback" => sign_in::finish,
        get "/login/{token}" => sign_in::by_link,
        get "/api/health" => health::json,
    }
}

routes! {
    /// Routes that need a session or a token.
    closed, CLOSED {
        // On every page.
        post "/logout" => sign_in::sign_out,
        post "/logout/everywhere" => sign_in::sign_out_everywhere,
        get "/ws/live" => socket::connect,
        post "/theme" => theme::switch,
        post "/control/pause" => control::pause,
        post "/api/control/pause" => control::pause_json,
        post "/positions/close" => control::close,
        post "/api/positions/close" => control::close_json,
        // Overview.
        get "/" => overview::page,
        get "/api/overview" => overview::json,
        // Followed users.
        get "/users" => users::page,
        post "/users" => follow::follow,
        get "/users/follow" => follow::page,
        get "/users/{id}" => user::page,
        post "/users/{id}" => follow::change,
        get "/api/users" => users::json,
        post "/api/users" => follow::follow_json,
        get "/api/users/{id}" => user::json,
        post "/api/users/{id}" => follow::change_json,
        get "/api/series/user/{id}" => curves::user,
        // Global portfolio.
        get "/portfolio" => portfolio::page,
        post "/portfolio/peak" => portfolio::reset_peak,
        get "/api/portfolio/global" => portfolio::json,
        post "/api/control/peak" => portfolio::reset_peak_json,
        get "/api/series/portfolio" => curves::portfolio,
        // Trades and attempts.
        get "/trades" => trades::page,
        get "/attempts/{id}" => explanation::page,
        get "/api/trades" => views::trades::json,
        get "/api/copy-attempts" => attempts::json,
        get "/api/copy-attempts/{id}" => explanation::json,
        get "/api/activities" => activities::json,
        get "/export/{what}.{format}" => download::download,
        // Markets.
        get "/markets" => markets::page,
        get "/markets/{id}" => market::page,
        post "/markets/{id}" => markets::post,
        get "/api/markets" => markets::json,
        post "/api/markets/{id}" => markets::post_json,
        get "/api/series/market/{id}" => market::prices,
        get "/api/series/market/{id}/slippage" => market::slippage,
        // Config.
        get "/config" => config::page,
        post "/config" => save::save,
        post "/config/restore" => save::restore,
        post "/config/test" => what_if::begin,
        get "/config/test/{id}" => what_if::show,
        post "/config/test/{id}/cancel" => what_if::cancel,
        get "/api/config" => config::json,
        post "/api/config/global" => save::json_global,
        post "/api/config/user/{id}" => save::json_user,
        post "/api/config/test" => what_if::json_begin,
        get "/api/config/test/{id}" => what_if::json_show,
        delete "/api/config/test/{id}" => what_if::json_cancel,
        post "/api/config/test/{id}/cancel" => what_if::json_cancel,
        // System.
        get "/status" => status::page,
        post "/status/dead-letters" => dead_letters::of_queue,
        post "/status/dead-letters/{id}" => dead_letters::one,
        get "/api/status" => status::json,
        // Access.
        get "/access" => access::page,
        get "/api/audit" => access::json,
        post "/access/tokens/revoke" => access::revoke,
        // The description of the JSON routes.
        get "/api/openapi.json" => openapi::json,
    }
}

/// Registers all routes. An unknown address behind the sign-in is answered with [`WebError::NotFound`].
pub fn every_route(app: &mut ServiceConfig) {
    app.configure(open);
    let nothing = || async { Err::<&str, _>(WebError::NotFound) };
    app.service(web::scope("").configure(closed).default_service(web::to(nothing)).wrap(from_fn(require_auth)));
}
