//! Every address of this server, in two lists: what is for everybody, and what needs a session or a token.

use actix_web::{
    middleware::from_fn,
    web::{self, ServiceConfig},
};

use super::{
    access, activities, assets, attempts, config, control, curves, error::WebError, explanation, export, following,
    health, letters, lists, live, market, markets, overview, portfolio, sign_in, status, theme, trades, user, users,
    visitor::signed_in,
};

/// Registers routes and, for the test that asks each of them, keeps their list.
macro_rules! routes {
    ($(#[$doc:meta])* $register:ident, $list:ident { $($method:ident $path:literal => $handler:path,)+ }) => {
        $(#[$doc])*
        fn $register(app: &mut ServiceConfig) {
            $(app.route($path, web::$method().to($handler));)+
        }

        #[cfg(test)]
        pub(super) const $list: &[(&str, &str)] = &[$((stringify!($method), $path)),+];
    };
}

routes! {
    /// For everybody.
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
    /// For those who are signed in, or come with a token.
    closed, CLOSED {
        // On every page.
        post "/logout" => sign_in::out,
        post "/logout/everywhere" => sign_in::out_everywhere,
        get "/ws/live" => live::connect,
        post "/theme" => theme::switch,
        post "/control/pause" => control::pause,
        post "/api/control/pause" => control::pause_json,
        // Overview.
        get "/" => overview::page,
        get "/api/overview" => overview::json,
        // Followed users.
        get "/users" => users::page,
        post "/users" => following::follow,
        get "/users/follow" => following::page,
        get "/users/{id}" => user::page,
        post "/users/{id}" => following::change,
        get "/api/users" => users::json,
        post "/api/users" => following::follow_json,
        get "/api/users/{id}" => user::json,
        post "/api/users/{id}" => following::change_json,
        get "/api/series/user/{id}" => curves::user,
        // Global portfolio.
        get "/portfolio" => portfolio::page,
        post "/portfolio/peak" => portfolio::reset_peak,
        get "/api/portfolio/global" => portfolio::json,
        post "/api/control/peak" => portfolio::reset_peak_json,
        get "/api/series/portfolio" => curves::portfolio,
        // Trades and attempts.
        get "/trades" => lists::page,
        get "/attempts/{id}" => explanation::page,
        get "/api/trades" => trades::json,
        get "/api/copy-attempts" => attempts::json,
        get "/api/copy-attempts/{id}" => explanation::json,
        get "/api/activities" => activities::json,
        get "/export/{what}.{format}" => export::download,
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
        post "/config" => config::save,
        post "/config/restore" => config::restore,
        post "/config/test" => config::begin,
        get "/config/test/{id}" => config::show,
        post "/config/test/{id}/cancel" => config::cancel,
        get "/api/config" => config::json,
        post "/api/config/global" => config::json_global,
        post "/api/config/user/{id}" => config::json_user,
        post "/api/config/test" => config::json_begin,
        get "/api/config/test/{id}" => config::json_show,
        delete "/api/config/test/{id}" => config::json_cancel,
        post "/api/config/test/{id}/cancel" => config::json_cancel,
        // System.
        get "/status" => status::page,
        post "/status/dead-letters" => letters::of_queue,
        post "/status/dead-letters/{id}" => letters::one,
        get "/api/status" => status::json,
        // Access.
        get "/access" => access::page,
        get "/api/audit" => access::json,
        post "/access/tokens/revoke" => access::revoke,
    }
}

/// Every address of this server.
pub fn every_route(app: &mut ServiceConfig) {
    app.configure(open);
    let nothing = || async { Err::<&str, _>(WebError::NotFound) };
    app.service(web::scope("").configure(closed).default_service(web::to(nothing)).wrap(from_fn(signed_in)));
}
